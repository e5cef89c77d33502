"""Evaluators: embeddings in, (name, value) out, every value in percent."""
