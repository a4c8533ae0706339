"""The networks of a codec in torch, what is trained beside them, and their files."""
