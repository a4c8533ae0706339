"""Benchmarks of domain packs, and the pictures that they are trained on."""
