"""Training: a model, batches and a loss in; the model after each epoch, and its rows, out."""
