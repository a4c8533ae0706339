"""Codec and head trained together."""
