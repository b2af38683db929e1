"""The service without a transport: packages, engines, batching, validation and the GAN's operations.

Nothing here knows gRPC. Requests and responses are the messages of `ganserve.v1`, errors are those of `core.errors`.
"""
