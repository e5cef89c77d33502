"""Rows in, numbers out: metrics, and the paper's conclusions with their rules. No torch."""
