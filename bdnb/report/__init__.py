"""The book: rows in, figures, tables and pages out. No torch."""
