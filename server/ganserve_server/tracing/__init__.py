"""Trace calls by OpenTelemetry: the parts of a call, the batches that serve several, and where spans are sent."""
