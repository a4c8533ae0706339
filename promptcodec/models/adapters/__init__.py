"""What one rate, or one task, adds to a base."""
