"""Messages and stubs of the protocol `ganserve.v1`, generated from protos/ by `make protos`."""
