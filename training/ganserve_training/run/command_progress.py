"""Show what a command is doing: a bar on a terminal, nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Steps of a command, shown by a progress bar; nothing is shown without one."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or Progress(disable=True)
        self._begun = 0
        self._task = self._progress.add_task("", total=None)

    def expect(self, count: int) -> None:
        """Set the number of steps."""
        self._progress.update(self._task, total=count)

    def next(self, words: str) -> None:
        """Begin the next step."""
        self._progress.update(self._task, completed=self._begun, description=words)
        self._begun += 1


@contextmanager
def shown_steps(console: Console | None = None) -> Iterator[Steps]:
    """Show steps while the block runs, if the console (stderr) is a terminal."""
    console = console or Console(stderr=True)
    words = TextColumn("{task.description}", markup=False)
    columns = (MofNCompleteColumn(), BarColumn(bar_width=10), TimeElapsedColumn(), words)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Steps(progress)
