"""Queue requests, limit them, and join them into batches."""
