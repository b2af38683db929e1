"""Let the processes of one server decide and publish together. One process alone needs no agreement."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

ResultT = TypeVar("ResultT")


class Agreement(Protocol):
    """Arrangements between the processes of one server. Safe in any thread but that of an event loop."""

    def once(self, key: Hashable, compute: Callable[[], ResultT]) -> ResultT:
        """Return the result for a key, which one of the processes computes."""
        ...

    def together(self, key: Hashable) -> None:
        """Wait until all processes are ready for what the key names, or a timeout."""
        ...

    def leave(self, key: Hashable) -> None:
        """Take back, without waiting, that this process is ready for what the key names."""
        ...

    def withdraw(self, name: str, version: int) -> None:
        """Let processes that start later forget that a version was loaded or unloaded on request: it is gone."""
        ...

    def until_poll_s(self, poll_s: float) -> float:
        """Return the seconds until the folder of models is due to be checked, which happens every `poll_s`."""
        ...


class Alone:
    """The agreement of a process without others."""

    def once(self, key: Hashable, compute: Callable[[], ResultT]) -> ResultT:  # noqa: ARG002
        """Return the result of `compute`."""
        return compute()

    def together(self, key: Hashable) -> None:
        """Return at once."""

    def leave(self, key: Hashable) -> None:
        """Do nothing."""

    def withdraw(self, name: str, version: int) -> None:
        """Do nothing."""

    def until_poll_s(self, poll_s: float) -> float:
        """Return `poll_s`."""
        return poll_s
