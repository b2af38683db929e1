"""Show operators the running server: metrics, probes and logs."""
