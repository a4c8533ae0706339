"""What is understood, at what cost."""
