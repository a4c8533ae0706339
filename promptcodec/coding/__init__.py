"""Pictures to streams and back, given an engine that runs the networks."""
