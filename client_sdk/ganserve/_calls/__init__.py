"""Send calls: requests, responses, retries, streams."""
