"""Write a self-contained page about a run: samples over time, curves with findings, metrics, configuration."""

from pathlib import Path

from ganserve_training.files import write_text_atomically, writing
from ganserve_training.report.material import read_run
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import RunFolder


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
    page = render(material)
    path = out or folder.report
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page)
    return path


__all__ = ["write_report"]
