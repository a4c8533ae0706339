"""Many files: several processes, a summary, what is there already."""
