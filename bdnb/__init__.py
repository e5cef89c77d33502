"""Backdoors in CLIP, reproduced: poison, train, clean, evaluate, and record what was seen."""

from importlib.metadata import version

__version__ = version("bdnb")
