"""One self-contained page about a run: samples over time, curves with their diagnoses, metrics, configuration."""

from pathlib import Path

from ganserve_training.files import write_text_atomically
from ganserve_training.report.material import read_run
from ganserve_training.run_folder import RunFolder


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write a run's report: one HTML file that needs no network and no other file.

    Args:
        run: the run's folder; the run may still be training.
        out: the file; None: report.html in the run's folder.

    Returns:
        The file.

    Raises:
        DataError: the folder holds no run, or one of its logs is damaged.
        ConfigError: its config.json is not a configuration.
    """
    from ganserve_training.report.page import render  # Needs plotly.

    folder = RunFolder(run)
    page = render(read_run(folder))
    path = out or folder.report
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page)
    return path


__all__ = ["write_report"]
