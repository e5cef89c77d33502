"""Rows in, numbers out: metrics of a run, and whether the paper's conclusions hold. No torch."""
