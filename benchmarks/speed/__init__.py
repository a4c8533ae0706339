"""Speed, memory, starting."""
