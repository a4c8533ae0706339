"""Rate and distortion: the ladder, adapters, context, effort."""
