"""Turn a training run into a model package."""
