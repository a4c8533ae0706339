"""Files of every kind: pictures, files that appear whole or not at all, where checkpoints are."""
