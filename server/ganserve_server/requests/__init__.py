"""Check the requests of `ganserve.v1`, plan their work and build their responses."""
