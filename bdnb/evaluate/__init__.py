"""Evaluators: a model and labelled images in, accuracy, ASR and retrieval in percent out."""
