"""A base codec on numpy and ONNX Runtime: no torch."""
