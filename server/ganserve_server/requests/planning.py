"""Tell which requests are checked on the event loop, because that takes microseconds, and which on another thread."""

from ganserve.v1 import gan_service_pb2

# A request of this many bytes, or with this many labels, files or controls, takes a few hundred microseconds to check.
_QUICK_BYTES, _QUICK_ENTRIES = 2**16, 512


def is_quick(request_bytes: int, message: gan_service_pb2.SampleRequest | gan_service_pb2.ScoreRequest) -> bool:
    """Return True if a request of this size on the wire, whose long fields are in `message`, is quickly checked."""
    return request_bytes <= _QUICK_ENTRIES or (request_bytes <= _QUICK_BYTES and _entries(message) <= _QUICK_ENTRIES)


def _entries(message: gan_service_pb2.SampleRequest | gan_service_pb2.ScoreRequest) -> int:
    """Return the number of entries of the fields that may be long."""
    labels = len(message.label_indices) + len(message.label_names)
    if isinstance(message, gan_service_pb2.SampleRequest):
        return labels + len(message.controls)
    return labels + len(message.samples.images.files)
