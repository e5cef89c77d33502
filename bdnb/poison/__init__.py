"""Poison: which pairs (``selection``), what image (``triggers``), what caption (``targets``)."""
