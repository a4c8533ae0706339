"""Scripts that measure and write docs/results/*.json; run as `python -m benchmarks.rates.curve`."""
