"""Rows in, figures, tables and pages of the book out. No torch."""
