"""Check requests, turn them into work, and build responses."""
