"""The exported graphs in ONNX Runtime."""
