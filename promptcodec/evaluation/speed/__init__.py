"""Times, memory and arithmetic."""
