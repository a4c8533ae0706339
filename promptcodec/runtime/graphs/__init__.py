"""Networks of a base as ONNX graphs: structure here, weights from the checkpoint."""
