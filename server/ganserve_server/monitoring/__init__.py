"""What operators see of a running server: metrics, probes and logs."""
