"""The command line: arguments, files, messages."""
