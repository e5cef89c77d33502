"""Parameters: YAML files and papermill's ``-p`` in, checked frozen dataclasses out. No torch."""
