"""Training: pictures in memory, objectives, one loop."""
