"""Typicality: tell samples unlike the training data apart from samples like them."""
