"""What a training run is made of: typed, frozen, validated once. Presets are values of these classes (presets.py)."""

from __future__ import annotations

from ganserve_training.config.anneal import Anneal
from ganserve_training.config.augmentation import AdaConfig, AugmentationConfig
from ganserve_training.config.data import DataConfig, SourceName
from ganserve_training.config.diagnosis import DiagnosisConfig
from ganserve_training.config.game import (
    EmaConfig,
    GradientPenaltyConfig,
    LossConfig,
    LossName,
    OptimiserConfig,
    OptimisersConfig,
    RegularisersConfig,
)
from ganserve_training.config.networks import ArchitectureName, CodesConfig, NetworksConfig
from ganserve_training.config.progressive import ProgressiveConfig
from ganserve_training.config.train import OutputConfig, Precision, ScheduleConfig, TrainConfig

__all__ = [
    "AdaConfig",
    "Anneal",
    "ArchitectureName",
    "AugmentationConfig",
    "CodesConfig",
    "DataConfig",
    "DiagnosisConfig",
    "EmaConfig",
    "GradientPenaltyConfig",
    "LossConfig",
    "LossName",
    "NetworksConfig",
    "OptimiserConfig",
    "OptimisersConfig",
    "OutputConfig",
    "Precision",
    "ProgressiveConfig",
    "RegularisersConfig",
    "ScheduleConfig",
    "SourceName",
    "TrainConfig",
]
