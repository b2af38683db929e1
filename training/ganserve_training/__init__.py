"""Train GANs in PyTorch: data, networks, losses, the training loop, checkpoints, evaluation.

Each name below is imported when it is first used, so `import ganserve_training` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganserve_training.config import TrainConfig
    from ganserve_training.config.fitting import Fit, Fitted, fit_to_data
    from ganserve_training.config.serialisation import config_from_dict, config_to_dict
    from ganserve_training.data import DataInfo, Images, Samples, Vectors, load_split
    from ganserve_training.errors import TrainingError
    from ganserve_training.evaluation.evaluate import evaluate_run, evaluate_samples
    from ganserve_training.evaluation.judge import Judgement
    from ganserve_training.evaluation.result import Evaluation
    from ganserve_training.presets import PRESETS
    from ganserve_training.run.start_or_resume import RunResult, train
    from ganserve_training.run.trained_model import TrainedModel, draw_samples, load_trained

_MODULES = {
    "config": ["TrainConfig"],
    "config.fitting": ["Fit", "Fitted", "fit_to_data"],
    "config.serialisation": ["config_from_dict", "config_to_dict"],
    "data": ["DataInfo", "Images", "Samples", "Vectors", "load_split"],
    "errors": ["TrainingError"],
    "evaluation.evaluate": ["evaluate_run", "evaluate_samples"],
    "evaluation.judge": ["Judgement"],
    "evaluation.result": ["Evaluation"],
    "presets": ["PRESETS"],
    "run.start_or_resume": ["RunResult", "train"],
    "run.trained_model": ["TrainedModel", "draw_samples", "load_trained"],
}
__all__ = [name for names in _MODULES.values() for name in names]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
