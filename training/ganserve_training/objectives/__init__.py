"""Compute what both players minimise: losses, penalties, further terms, augmentation, unrolling."""
