"""Measure how good a model's samples are."""
