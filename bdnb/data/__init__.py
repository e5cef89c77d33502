"""Data sets: the embedded emoji scenes, pairs in shards, labelled sets, fetched packages."""
