"""Compute what the generator and the critic minimise: losses, penalties, further terms, augmentation, unrolling."""
