"""Run ONNX graphs: sessions, execution providers, CUDA graph captures."""
