"""Data sets: emoji scenes, web lists or ImageNet in, shards and then batches of tensors out."""
