"""Whatever the monitor meets, the run that it watches goes on, and goes on when it is resumed."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from ganserve_training import train
from ganserve_training.config import ArrayConfig, DiagnosisConfig, TrainConfig
from ganserve_training.diagnosis import Observation
from ganserve_training.diagnosis import monitor as monitor_module
from ganserve_training.diagnosis.config import QualityName
from ganserve_training.diagnosis.feature_space import FeatureSpace
from ganserve_training.diagnosis.regions import cluster_regions, label_regions
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder
from tiny_runs import tiny_config


def watched(config: TrainConfig, folder: Path) -> tuple[list[Observation], str]:
    """Train in two parts; return what the monitor saw and said."""
    said = io.StringIO()
    for steps in (config.steps // 2, config.steps):
        part = tiny_config(steps=steps, data=config.data, networks=config.networks, diagnosis=config.diagnosis)
        train(part, folder, device="cpu", console=Console(file=said, width=200))
    return [Observation.from_dict(record) for record in read_log(RunFolder(folder).observations)], said.getvalue()


@pytest.mark.parametrize("quality", ["auto", "kid", "gan-test"])
@pytest.mark.parametrize("kind", ["two equal pictures", "one label", "one picture a label to learn from", "equal"])
def test_little_data(tmp_path: Path, kind: str, quality: QualityName) -> None:
    rng = np.random.default_rng(0)
    labels: dict[str, Any] = {
        "two equal pictures": [0, 0],
        "one label": [0] * 12,
        "one picture a label to learn from": [0, 0, 1, 1, 2, 2],
        "equal": [0, 1] * 6,
    }
    chosen = np.array(labels[kind])
    pixels = rng.integers(0, 256, (len(chosen), 8, 8, 1), np.uint8)
    if "equal" in kind:
        pixels[:] = pixels[0]
    np.savez(tmp_path / "data.npz", images=pixels, labels=chosen)
    data = ArrayConfig(path=str(tmp_path / "data.npz"), held_out_fraction=0.5)
    diagnosis = DiagnosisConfig(every_steps=2, samples=32, quality=quality)
    seen, said = watched(tiny_config(steps=8, data=data, diagnosis=diagnosis), tmp_path / "run")
    assert [item.step for item in seen] == [2, 4, 6, 8]
    assert all(item.is_finite for item in seen)
    assert "could not look" not in said
    few = quality == "kid" and len(chosen) == 2
    alone = quality == "gan-test" and len(set(chosen)) == 1
    assert ("the monitor measures no quality: " in said) == (few or alone)
    assert all((item.quality is None) == (few or alone) for item in seen)
    if "equal" in kind:
        assert all(item.diversity == 1.0 for item in seen)


def test_samples_that_are_not_numbers_are_seen_as_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two lines of the log, weights may become NaN; the log then ends the run."""
    look = monitor_module.Monitor.look

    def spoiled(monitor: Any) -> Any:
        if monitor._trainer.step == 6:
            for module in (monitor._trainer.generator, monitor._trainer.ema.module):
                for weight in module.parameters():
                    weight.data.fill_(torch.nan)
        return look(monitor)

    monkeypatch.setattr(monitor_module.Monitor, "look", spoiled)
    said = io.StringIO()
    diagnosis = DiagnosisConfig(every_steps=2, samples=32, quality="gan-test")
    config = tiny_config(steps=6, diagnosis=diagnosis)
    with pytest.raises(Exception, match="a weight became NaN or infinite by step 6"):
        train(config, tmp_path, device="cpu", console=Console(file=said, width=200))
    *_, last = (Observation.from_dict(record) for record in read_log(RunFolder(tmp_path).observations))
    assert last.step == 6
    assert not last.is_finite
    assert last.regions_reached == 0
    assert "could not look" not in said.getvalue()
    assert RunFolder(tmp_path).last_word.read_text().count("diverged") == 1


@pytest.mark.parametrize("kind", ["labels", "clusters"])
def test_regions_of_samples_that_are_not_numbers_are_not_reached(kind: str) -> None:
    torch.manual_seed(0)
    real = torch.cat([torch.randn(50, 2), torch.randn(50, 2) + 9.0])
    labels = torch.arange(100) // 50
    space = FeatureSpace(real)
    regions = cluster_regions(space, real)
    if kind == "labels":
        found = label_regions(space, (real, labels), (real, labels), 2)
        assert found is not None
        regions = found
    assert regions.coverage(real).reached == regions.coverage(real).regions
    torn = real.clone()
    torn[:50, 1] = torch.nan
    assert 0 < regions.coverage(torn).reached < regions.coverage(real).regions
    nothing = regions.coverage(torch.full_like(real, torch.inf))
    assert (nothing.reached, nothing.relative_entropy) == (0, 0.0)


def test_a_monitor_that_fails_says_so_once_and_the_run_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_observer: Any) -> Observation:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(monitor_module._Observer, "observe", broken)
    said = io.StringIO()
    config = tiny_config(diagnosis=DiagnosisConfig(every_steps=2, samples=32))
    result = train(config, tmp_path, device="cpu", console=Console(file=said, width=200))
    assert result.step == 12
    assert said.getvalue().count("the monitor could not look at step") == 1
    assert "step 2, and training goes on without this look. ZeroDivisionError: division by zero" in said.getvalue()
    assert not RunFolder(tmp_path).last_word.exists()
