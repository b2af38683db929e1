"""Trains GANs in PyTorch: data, networks, losses, the training loop, checkpoints, evaluation."""
