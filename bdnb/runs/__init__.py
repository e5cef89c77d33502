"""Runs on disk: parameters in; a folder with manifest and rows, and a DataFrame, out. No torch."""
