"""Parameters: YAML files and ``-p`` in, checked dataclasses out. No torch."""
