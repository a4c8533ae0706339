"""Other codecs, to compare with."""
