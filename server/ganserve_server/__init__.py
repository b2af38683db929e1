"""Serves GAN model packages over gRPC: repository, onnxruntime engines, batching, services."""
