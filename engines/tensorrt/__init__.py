"""The exported graphs in TensorRT and TensorRT-RTX: building, caching and running engines."""
