"""Answer gRPC calls: thin adapters to `service`, `open_inference` and `models`."""
