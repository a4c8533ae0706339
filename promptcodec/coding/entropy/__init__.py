"""Latents to bytes and back: integer tables, rANS, escapes."""
