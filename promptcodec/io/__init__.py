"""Files: pictures, atomic writes, places of checkpoints."""
