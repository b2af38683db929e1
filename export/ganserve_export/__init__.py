"""Turns a training run into a verified ONNX model package that the server reads."""
