"""A run's folder with manifest and rows; experiments in, runs and rows out. No torch."""
