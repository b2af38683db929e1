"""Test the progress of bulk jobs in a log."""

from __future__ import annotations

import re

import pytest

from ganserve_server.bulk import progress
from ganserve_server.bulk.sample_task import SampleTask
from ganserve_server.bulk.scoring import ScoreTask


@pytest.mark.parametrize(
    ("unit", "seconds", "line"),
    [
        (ScoreTask.unit, 60.0, "26 of 60 files, 0.1 a second, 6 min left"),
        (SampleTask.unit, 0.002, "26 of 60 samples, 3,000 a second, 0 min left"),
    ],
)
def test_a_log_gets_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unit: str, seconds: float, line: str
) -> None:
    """It names the unit, and slow jobs have a speed, too."""
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress(60, 20, unit) as tell:
        tell(6)
    assert re.sub(r"\s+", " ", capsys.readouterr().err) == f"{line} "


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.progress(60, 20, "files") as tell:
        tell(40)
    assert "60 of 60 files" in capsys.readouterr().err
