"""Make a choice by measurement once for all processes of a server, where it may change the bits of samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

ChoiceT = TypeVar("ChoiceT")


class Choices:
    """The choices of this process."""

    def __init__(self) -> None:
        self._agree: Callable[[Hashable, Callable[[], object]], object] | None = None
        self._made: dict[Hashable, object] = {}

    def share(self, agree: Callable[[Hashable, Callable[[], object]], object]) -> None:
        """Let `agree` return what one of the processes has chosen for a key; see `models.agreement`."""
        self._agree = agree

    def make(self, key: Hashable, choose: Callable[[], ChoiceT]) -> ChoiceT:
        """Return the choice for a key: what `choose` returns, or another process has chosen."""
        if self._agree is None:
            return choose()
        if key not in self._made:
            self._made[key] = self._agree(key, choose)
        choice: ChoiceT = self._made[key]  # type: ignore[assignment] # of the same key
        return choice


CHOICES = Choices()
"""The choices of this process."""
