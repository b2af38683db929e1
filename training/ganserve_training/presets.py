"""Configurations that are known to work, by name."""

from ganserve_training.config import TrainConfig

DIGITS = TrainConfig()
"""Scikit-learn's handwritten digits."""

PRESETS: dict[str, TrainConfig] = {"digits": DIGITS}
