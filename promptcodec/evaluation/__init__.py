"""Evaluation of the codec and of other codecs: quality, rate, complexity, speed."""
