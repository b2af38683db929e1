"""Write self-contained pages about runs: samples over time, curves with findings, metrics, configuration."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ganserve_training.evaluation.table import short_names
from ganserve_training.files import write_text_atomically, writing
from ganserve_training.report.material import read_run
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import RunFolder

COMPARISON = Path("comparison.html")


def write_report(run: Path, out: Path | None = None, *, steps: Steps | None = None) -> Path:
    """Write a run's report, one HTML file that loads nothing else; return its path (default: report.html in the run).

    The run may still be training. `steps` takes a message before each step.

    Raises:
        DataError: The folder holds no run, or one of its logs is damaged.
        ConfigError: Its config.json is not a configuration.
    """
    steps = steps or Steps()
    steps.expect(2)
    steps.next("reading the run")
    from ganserve_training.report.page import render  # needs plotly

    folder = RunFolder(run)
    material = read_run(folder)
    steps.next("drawing the page")
    return _write(out or folder.report, render(material))


def write_comparison(runs: Sequence[Path], out: Path | None = None, *, steps: Steps | None = None) -> Path:
    """Write a page that shows several runs side by side; return its path (default: comparison.html).

    Arguments and errors are those of `write_report`.
    """
    steps = steps or Steps()
    steps.expect(len(runs) + 1)
    from ganserve_training.report.comparison import render  # needs plotly

    materials = []
    for run in runs:
        steps.next(f"reading {run}")
        materials.append(read_run(RunFolder(run)))
    if len({material.name for material in materials}) < len(runs):
        names = short_names(runs)
        materials = [replace(material, name=name) for material, name in zip(materials, names, strict=True)]
    steps.next("drawing the page")
    return _write(out or COMPARISON, render(materials))


def _write(path: Path, page: str) -> Path:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page)
    return path


__all__ = ["write_comparison", "write_report"]
