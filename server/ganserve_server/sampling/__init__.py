"""Draw samples and let the critic score or select them."""
