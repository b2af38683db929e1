"""Answer requests in named tensors, as the Open Inference Protocol sends them."""
