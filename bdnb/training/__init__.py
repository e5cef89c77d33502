"""Training a model: parts of a run in, a model after each epoch out."""
