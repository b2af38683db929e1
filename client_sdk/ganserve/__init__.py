"""The typed Python SDK of ganserve: sample and score GANs over gRPC."""
