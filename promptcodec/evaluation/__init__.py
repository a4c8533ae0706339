"""Measuring the codec: quality, rate, complexity, and the classic codecs beside it."""
