"""Trains GANs in PyTorch: data, networks, losses, the training loop, checkpoints, evaluation.

The names below are imported when they are first used, so that `import ganserve_training` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganserve_training.config import TrainConfig
    from ganserve_training.config.serialisation import config_from_dict, config_to_dict
    from ganserve_training.data import DataInfo, Images, Samples, Vectors, load_split
    from ganserve_training.errors import TrainingError
    from ganserve_training.evaluation.evaluate import evaluate_run, evaluate_samples
    from ganserve_training.evaluation.judge import Judgement
    from ganserve_training.evaluation.result import Evaluation
    from ganserve_training.presets import PRESETS
    from ganserve_training.run.start_or_resume import RunResult, train
    from ganserve_training.run.trained_model import TrainedModel, draw_samples, load_trained

_HOMES = {
    "PRESETS": "presets",
    "DataInfo": "data",
    "Images": "data",
    "Evaluation": "evaluation.result",
    "Judgement": "evaluation.judge",
    "RunResult": "run.start_or_resume",
    "Samples": "data",
    "TrainConfig": "config",
    "TrainedModel": "run.trained_model",
    "TrainingError": "errors",
    "Vectors": "data",
    "config_from_dict": "config.serialisation",
    "config_to_dict": "config.serialisation",
    "draw_samples": "run.trained_model",
    "evaluate_run": "evaluation.evaluate",
    "evaluate_samples": "evaluation.evaluate",
    "load_split": "data",
    "load_trained": "run.trained_model",
    "train": "run.start_or_resume",
}

__all__ = [
    "PRESETS",
    "DataInfo",
    "Evaluation",
    "Images",
    "Judgement",
    "RunResult",
    "Samples",
    "TrainConfig",
    "TrainedModel",
    "TrainingError",
    "Vectors",
    "config_from_dict",
    "config_to_dict",
    "draw_samples",
    "evaluate_run",
    "evaluate_samples",
    "load_split",
    "load_trained",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
