"""Hold what calls return: batches of samples, scores, models, pictures and tables."""
