"""Collect refusals, so that a user hears of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from ganserve_training.errors import ConfigError


class BrokenNetworkError(ConfigError):
    """Networks of the user's own break the contract; `players` holds those that could be made at least."""

    def __init__(self, messages: list[str], players: dict[str, nn.Module]) -> None:
        super().__init__(joined(messages))
        self.messages = messages
        self.players = players


class Problems:
    """Refusals so far."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep the refusal that the block ends with, if any, and go on after it."""
        try:
            yield
        except BrokenNetworkError as error:
            self.messages += error.messages
        except ConfigError as error:
            self.messages.append(str(error))

    def expect_none(self) -> None:
        """Raise a ConfigError with all refusals, if there are any."""
        if self.messages:
            raise ConfigError(joined(self.messages))


def make_both(generator: Callable[[], nn.Module], critic: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Return both networks; raise BrokenNetworkError with the refusals of both.

    The error holds the networks, so that further questions can be asked of them.
    """
    messages: list[str] = []
    players: dict[str, nn.Module] = {}
    for name, make in (("generator", generator), ("critic", critic)):
        try:
            players[name] = make()
        except BrokenNetworkError as error:
            messages += error.messages
            players |= error.players
        except ConfigError as error:
            messages.append(str(error))
    if messages:
        raise BrokenNetworkError(messages, players)
    return players["generator"], players["critic"]


def joined(messages: list[str]) -> str:
    """Return one message, or a list of several that differ."""
    several = list(dict.fromkeys(messages))
    if len(several) == 1:
        return several[0]
    return "\n".join([f"{len(several)} problems with these networks:", *(f"- {message}" for message in several)])
