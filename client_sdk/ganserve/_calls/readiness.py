"""Waiting until a server is ready: the decisions, without the waiting."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from ganserve._calls import unary_calls as _calls
from ganserve._errors import DeadlineExceeded, GanserveError, InvalidRequest, ModelNotFound, ServerUnavailable
from ganserve._results.models import ModelState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve._results.models import ModelSummary

_ATTEMPT_S = 5.0
_PAUSE_S = 0.1
_UNKNOWN_S = 5.0  # a server looks for new packages every 2 s (poll_s); one that it finds is listed while it loads


class Readiness:
    """Waits for a server by asking for its models.

    ListModels, and not grpc.health.v1: it tells which model is not ready and why, needs no package beyond the SDK's,
    and passes where the health service does not, through Ray Serve's proxy for instance.
    """

    def __init__(self, model: str | None, timeout_s: float) -> None:
        self._model = model
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s
        self._obstacle: str = "no attempt was made"
        self._error: GanserveError | None = None
        self._unknown_since = math.inf
        self._others: list[str] = []

    def attempt(self) -> _calls.Call[Sequence[ModelSummary]]:
        """The next call.

        Raises:
            ModelNotFound: The time is over, or enough of it, and the server does not know the model.
            ServerUnavailable: The time is over; the message says what was still missing.
        """
        now = time.monotonic()
        left_s = self._end - now
        unknown_s = now - self._unknown_since
        if unknown_s >= _UNKNOWN_S or left_s <= 0 <= unknown_s:
            there_is = f"there are: {', '.join(self._others)}" if self._others else "there is none"
            raise ModelNotFound(
                f"there is no model {self._model!r} after {unknown_s:.1f} s; {there_is}", code="NOT_FOUND"
            )
        if left_s <= 0:
            message = f"not ready after {self._timeout_s:g} s: {self._obstacle}"
            raise ServerUnavailable(message, code="UNAVAILABLE") from self._error
        return _calls.list_models(min(left_s, _ATTEMPT_S))

    def refused(self, error: GanserveError) -> float:
        """What to do after a failed call: the seconds to pause before the next.

        Raises:
            GanserveError: This failure will not pass.
        """
        if not isinstance(error, ServerUnavailable | DeadlineExceeded):
            raise error
        self._unknown_since = math.inf  # it may be another server when it answers again
        if isinstance(error, ServerUnavailable) or self._error is None:  # the last attempt's deadline says the least
            self._obstacle, self._error = str(error), error
        return self._pause()

    def answered(self, models: Sequence[ModelSummary]) -> float:
        """What to do after an answer: the seconds to pause before the next call; 0 if the server is ready."""
        self._others = [model.name for model in models]
        if self._model is None or self._model in self._others:
            self._unknown_since = math.inf
        else:
            self._unknown_since = min(self._unknown_since, time.monotonic())
        obstacle = _missing(models, self._model)
        if obstacle is None:
            return 0.0
        self._obstacle, self._error = obstacle, None
        return self._pause()

    def _pause(self) -> float:
        return max(1e-3, min(_PAUSE_S, self._end - time.monotonic())) if math.isfinite(self._end) else _PAUSE_S


def refuse_name(timeout_s: object) -> None:
    """Refuses a model's name where seconds are expected: the first argument looks like a place for it.

    Raises:
        InvalidRequest: It is a str.
    """
    if isinstance(timeout_s, str):
        raise InvalidRequest.of(
            "timeout_s", f"is {timeout_s!r}; expected seconds; a model to wait for is model={timeout_s!r}"
        )


def _missing(models: Sequence[ModelSummary], wanted: str | None) -> str | None:
    """What a server with these models still lacks; None if it is ready."""
    if wanted is not None:
        models = [model for model in models if model.name == wanted]
        if not models:
            return f"the server has no model {wanted!r}"
    if not models:
        return "the server has no model"
    waiting = [
        f"{model.name} version {version.version} is {version.state}{version.reason and f' ({version.reason})'}"
        for model in models
        if model.latest is None
        for version in model.versions
    ]
    if any(model.latest is not None for model in models) and not any(
        model.latest is None and any(version.state is ModelState.LOADING for version in model.versions)
        for model in models
    ):
        return None
    return "; ".join(waiting) or "no model is ready"
