"""Serve GAN model packages over gRPC."""
