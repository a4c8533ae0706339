"""Exact tiles: pictures for them, and what they save."""
