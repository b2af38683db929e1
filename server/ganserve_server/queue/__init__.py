"""Queue requests and join them into batches."""
