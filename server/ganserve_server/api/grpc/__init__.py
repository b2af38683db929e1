"""The thin gRPC adapters around `ganserve_server.core`."""
