"""Turn samples into features, for the metrics that compare features."""

from ganserve_training.evaluation.features.classifier import classifier_features
from ganserve_training.evaluation.features.features import Features, batches, plain_features, torchscript_features
from ganserve_training.evaluation.features.resizing import FeatureInput

__all__ = ["FeatureInput", "Features", "batches", "classifier_features", "plain_features", "torchscript_features"]
