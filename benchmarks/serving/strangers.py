"""Send calls as known and unknown callers in turns, and see who gets what."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Mapping
from typing import Any

import grpc

_INTERCEPTORS = (
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
)
# What --open-health, the default, leaves open to strangers. ModelReady tells them that no model is ready.
_OPEN = ("/grpc.health.v1.Health/", "/ServerLive", "/ServerReady", "/ModelReady")
_GARBLED = ("", "Bearer", "Bearer ", "bearer x y", "Basic dXNlcjpwYXNz", f"Bearer {'a' * 4000}", "Bearer .e30.")


class As(*_INTERCEPTORS):  # type: ignore[misc] # gRPC's classes have no types
    """Gives each call this token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or ()), *self._metadata()]), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _call

    def _metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._token}")]


class Turns(As):
    """Gives each call the identity of a random kind of caller.

    Args:
        tokens: Tokens of known callers, by the name of their kind.
        seed: Decides who sends which call.
    """

    def __init__(self, tokens: Mapping[str, str], seed: int) -> None:
        super().__init__("")
        self._random = random.Random(seed)
        self._tokens = tokens
        self.kind = ""
        """The kind of the last call's caller."""
        self.statuses: collections.Counter[str] = collections.Counter()
        """Calls by kind and status."""
        self.unexpected: list[str] = []

    def _metadata(self) -> list[tuple[str, str]]:
        self.kind = self._random.choice(("nobody", "wrong", "garbled", *self._tokens))
        if self.kind == "nobody":
            return []
        if self.kind == "garbled":
            return [("authorization", self._random.choice(_GARBLED))] * self._random.choice((1, 2))
        self._token = self._tokens.get(self.kind, "gs_" + "0" * 43)
        return super()._metadata()

    def saw(self, path: str, status: str) -> None:
        """Count an answer; a stranger must get none that is OK."""
        self.statuses[f"{self.kind} {status}"] += 1
        if self.kind not in self._tokens and status == "OK" and not any(part in path for part in _OPEN):
            self.unexpected.append(f"{path}: OK for a caller of the kind {self.kind!r}")
