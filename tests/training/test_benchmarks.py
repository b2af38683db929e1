"""Test that the benchmarks of training run and compare equal work, whatever their figures."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import torch

from ganserve_training import PRESETS, config_from_dict, config_to_dict
from ganserve_training.data import load_split
from ganserve_training.networks import build_networks
from ganserve_training.run.compatibility import check_pair
from ganserve_training.run.training_step import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from ganserve_training.config import TrainConfig
    from ganserve_training.data import DataInfo

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """Import the scripts by the short names that they use among themselves."""
    names = {"mode_coverage": ("methods", "run"), "training": ("bare", "speed")}
    with pytest.MonkeyPatch.context() as patch:
        for folder, inside in names.items():
            patch.syspath_prepend(str(BENCHMARKS / folder))
            for name in inside:
                patch.delitem(sys.modules, name, raising=False)
        yield {name: importlib.import_module(name) for inside in names.values() for name in inside}
        for inside in names.values():
            for name in inside:
                sys.modules.pop(name)


class HereAndNow:
    """An executor that does each job at once in this process."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, job: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(job(*arguments))
        return done


@functools.cache
def info_of(source: str) -> DataInfo:
    return load_split(config_from_dict({"data": {"source": source, "count": 100}}).data, "train").info


def trained_row(modules: dict[str, ModuleType]) -> str:
    """Return the first row that is trained."""
    return next(row.name for row in modules["methods"].SUITES["literature"]() if row.draw is None)


def test_every_row_of_every_suite_can_be_trained(modules: dict[str, ModuleType]) -> None:
    for suite in modules["methods"].SUITES.values():
        rows = suite()
        assert len({row.name for row in rows}) == len(rows) > 0
        for config in (config for row in rows for config in row.configs.values()):
            assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
            with torch.device("meta"):
                check_pair(config, build_networks(config.networks, info_of(config.data.source)), 1)


def test_a_row_is_trained_measured_written_and_shown(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, row = modules["run"], trained_row(modules)
    monkeypatch.setattr(run, "ProcessPoolExecutor", HereAndNow)
    out = tmp_path / "results" / "some.json"
    flags = ["literature", "--data", "ring", "--methods", row, "--trials", "1", "--share", "0.0006", "--out", str(out)]
    flags += ["--pictures", str(tmp_path / "pictures")]
    monkeypatch.setattr(sys, "argv", ["run.py", *flags])
    run.main()
    said = capsys.readouterr()
    record = json.loads(out.read_text())
    (trial,) = record["trials"]
    assert record["suite"] == "literature"
    assert (trial["data"], trial["method"], trial["seed"], trial["steps"]) == ("ring", row, 0, 3)
    assert 0 <= trial["modes"] <= 8
    assert 0.0 <= trial["high_quality"] <= 1.0
    assert trial["reverse_kl"] >= 0.0
    assert json.loads(said.err) == trial
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"{run._name('ring', row)}{end}.png" for end in ("-0", "")]
    assert said.out == run.table([trial]) + "\n"
    assert said.out.splitlines()[2].startswith(f"| ring | {row} | 1 of 1 | 3 | {trial['modes']:.1f} ± 0.0 |")

    monkeypatch.setattr(run, "run_trial", None)  # A second call repeats no trial.
    run.main()
    assert capsys.readouterr() == (said.out, "")


def test_rows_without_training_are_drawn_and_measured_like_the_others(modules: dict[str, ModuleType]) -> None:
    run, rows = modules["run"], modules["methods"].SUITES["literature"]()
    jobs = [
        {"suite": "literature", "method": row.name, "data": data, "seed": 0, "steps": 1}
        for row in rows
        for data in row.configs
        if row.draw is not None
    ]
    trials = [run.run_trial(job) for job in jobs]
    qualities = sorted(trial["high_quality"] for trial in trials)
    assert qualities[0] < 0.3  # Noise.
    assert qualities[-1] == pytest.approx(0.989, abs=0.01)  # Real data: within 3 sigma, in the plane.
    assert all(line.endswith(" | - |") for line in run.table(trials).splitlines()[2:])  # These rows are not trained.


def test_a_failed_row_is_recorded(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise ArithmeticError("everything is infinite\nand more")

    monkeypatch.setattr("ganserve_training.train", diverge)
    run, row = modules["run"], trained_row(modules)
    failed = run.run_trial({"suite": "literature", "method": row, "data": "ring", "seed": 0, "steps": 3})
    assert failed["failed"] == "everything is infinite"
    assert "| 0 of 1 | 3 | diverged |" in run.table([failed])


def test_the_speed_is_compared_with_the_bare_loop(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    flags = ["--presets", "digits", "--rounds", "1", "--steps", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["speed.py", *flags])
    modules["speed"].main()
    (record,) = json.loads(out.read_text())
    assert (record["preset"], record["rounds"], record["steps"], record["batch_size"]) == ("digits", 1, 1, 64)
    assert min(record["ours_per_cpu_s"], record["bare_per_cpu_s"], record["cpu_ratio"], record["wall_ratio"]) > 0
    assert capsys.readouterr().out.count("\n| digits |") == 1


SAME_WORK: dict[str, TrainConfig] = {
    "digits": PRESETS["digits"],
    "dcgan-32": replace(PRESETS["dcgan-32"], batch_size=8, data=replace(PRESETS["dcgan-32"].data, count=200)),
}


@pytest.mark.parametrize(("name", "backend"), [*((name, "") for name in SAME_WORK), ("digits", "aot_eager")])
def test_the_bare_loop_and_the_trainer_give_the_same_weights(
    name: str, backend: str, modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal batches and latents give equal weights, so the speeds compare the same work."""
    config, steps = SAME_WORK[name], 4
    bare = modules["bare"].BareLoop(config, backend=backend)
    trainer = Trainer(config, load_split(config.data, "train"))
    weights = {
        player: (list(ours.state_dict().values()), list(theirs.state_dict().values()))
        for player, ours, theirs in (
            ("generator", trainer.generator, bare.generator),
            ("critic", trainer.critic, bare.critic),
            ("average", trainer.ema.module, bare.average),
        )
    }
    before = {player: [value.clone() for value in ours] for player, (ours, _) in weights.items()}
    for ours, theirs in weights.values():
        assert all(map(torch.equal, ours, theirs))

    batches: list[Any] = []

    def remember(position: int, count: int) -> Any:
        batches.append(original(position, count))
        return batches[-1]

    def recall() -> Any:
        bare.seen += bare.batch
        return batches.pop(0)

    original = trainer._batches.batch
    monkeypatch.setattr(trainer._batches, "batch", remember)
    monkeypatch.setattr(trainer._noise, "latents", lambda prior, count: torch.randn(count, prior.dim))
    monkeypatch.setattr(bare, "next_batch", recall)
    torch.manual_seed(5)
    for _ in range(steps):
        trainer.run_step()
    torch.manual_seed(5)
    bare.run(steps)
    assert batches == []
    for player, (ours, theirs) in weights.items():
        assert any(not torch.equal(value, old) for value, old in zip(ours, before[player], strict=True)), player
        for value, other, old in zip(ours, theirs, before[player], strict=True):
            # Adam steps even where a gradient is only rounding, so compare all weights together.
            assert (value - other).double().norm() <= 0.005 * (value - old).double().norm(), player
