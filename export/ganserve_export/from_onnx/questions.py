"""Collect what a user must say about foreign files, so that all questions come in one round."""

from collections.abc import Iterator
from contextlib import contextmanager

from ganserve_export.errors import ExportError


class UnclearError(ExportError):
    """Something about a file is unclear; the message says which option settles it."""


class Questions:
    """Questions that are still open."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def ask(self, question: UnclearError | str) -> None:
        """Add a question, once."""
        if str(question) not in self._open:
            self._open.append(str(question))

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect a question that the block raises, instead of ending at it."""
        try:
            yield
        except UnclearError as error:
            self.ask(error)

    def settle(self) -> None:
        """Raise ExportError with all open questions, if there are any."""
        if not self._open:
            return
        if len(self._open) == 1:
            raise ExportError(self._open[0])
        listed = "; ".join(f"({number}) {text}" for number, text in enumerate(self._open, 1))
        raise ExportError(f"{len(self._open)} things are unclear: {listed}")

    def settle_if(self, stuck: bool) -> None:
        """Raise the open questions if nothing further can be found out before they are answered."""
        if stuck:
            self.settle()
