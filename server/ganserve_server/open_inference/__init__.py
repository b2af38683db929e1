"""Serve models as graphs with named tensors, for the Open Inference Protocol."""
