"""Shape and recipe of a base, what it costs."""
