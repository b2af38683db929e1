"""Evaluate exported packages, and with ONNX feature networks."""
