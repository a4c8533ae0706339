"""Codec and classifier trained together."""
