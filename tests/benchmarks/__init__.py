"""Speed against plain references, from one run: ``python -m tests.benchmarks --help``."""
