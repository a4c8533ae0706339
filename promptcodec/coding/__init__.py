"""Pictures to streams and back, with an engine for the networks."""
