"""One stream decodes alike everywhere; large, many and broken files."""
