"""The widgets of ``notebooks/explore.ipynb``: recorded runs and the user's files in, panels out."""
