"""Poison: pairs in; which are poisoned, their triggered images and the target's captions out."""
