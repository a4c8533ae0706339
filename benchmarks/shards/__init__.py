"""Training on tar shards: memory for sets of any size, a kill and a resume."""
