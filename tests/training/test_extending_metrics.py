"""Recipe: add a metric from outside the package. Inside, the same code is one file of `evaluation/metrics/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ganserve_training import evaluate_run, train
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation import metric as register
from ganserve_training.evaluation.metric import Figure, Material, Metric, register_metric
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.show import show
from ganserve_training.evaluation.table import Named
from tiny_runs import tiny_config


def brightness_error(material: Material) -> dict[str, float]:
    """Return how much brighter or darker generated samples are than real ones."""
    return {"brightness_error": float(np.abs(material.values.mean() - material.real_values.mean()))}


BRIGHTNESS = Metric(
    name="brightness",
    measure=brightness_error,
    figures={"brightness_error": Figure("brightness error", "difference of the mean brightness")},
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    del register._METRICS["brightness"]


def test_a_metric_of_your_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_metric(BRIGHTNESS)

    train(tiny_config(), tmp_path, device="cpu")
    evaluation = evaluate_run(tmp_path, EvaluationOptions(metrics=("brightness",), samples=40))

    assert 0.0 <= evaluation.metrics["brightness_error"] < 1.0
    capsys.readouterr()
    show([Named("my run", evaluation)])
    assert "brightness error" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="metric brightness: there is one with this name"):
        register_metric(BRIGHTNESS)
