"""The base codec: transforms, hyperprior, context model, entropy coder."""
