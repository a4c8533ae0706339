"""Jobs on many files: processes, finished outputs, messages."""
