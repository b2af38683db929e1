"""Keep pictures where they are and decode them when they are read."""
