"""Decide whether a server is ready, and when to ask again."""

import math
import time
from collections.abc import Sequence

from ganserve._calls import unary_calls
from ganserve._errors import DeadlineExceeded, GanserveError, InvalidRequest, ModelNotFound, ServerUnavailable
from ganserve._results.models import ModelState, ModelSummary

_ATTEMPT_S = 5.0
_PAUSE_S = 0.1
_UNKNOWN_S = 5.0  # a server looks for new packages every 2 s (poll_s), and lists them while they load
_SHORTEST_S = 0.01  # a call with less time is cut off


class Readiness:
    """Judges a server by its list of models.

    Unlike grpc.health.v1, ListModels says which model is not ready and why. It also needs no further package, and
    passes proxies that stop the health service, such as Ray Serve's.
    """

    def __init__(self, model: str | None, timeout_s: float) -> None:
        self._model = model
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s
        self._obstacle: str = "no attempt was made"
        self._error: GanserveError | None = None
        self._unknown_since = math.inf
        self._others: list[str] = []

    def attempt(self) -> unary_calls.Call[Sequence[ModelSummary]]:
        """Return the next call; raise an error if the time is over, or the model has been unknown for too long."""
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
        return unary_calls.list_models(min(left_s, _ATTEMPT_S))

    def refused(self, error: GanserveError) -> float:
        """Return the seconds to pause after a failed call; raise its error if waiting does not help."""
        if not isinstance(error, ServerUnavailable | DeadlineExceeded):
            raise error
        over = time.monotonic() >= self._end - _SHORTEST_S
        if isinstance(error, DeadlineExceeded) and over and math.isfinite(self._unknown_since):
            return self._pause()  # The last call had no time, so the answer before it counts.
        self._unknown_since = math.inf  # another server may answer next
        if isinstance(error, ServerUnavailable) or self._error is None:  # a passed deadline is less informative
            self._obstacle, self._error = str(error), error
        return self._pause()

    def answered(self, models: Sequence[ModelSummary]) -> float:
        """Return the seconds to pause after an answer; 0 if the server is ready."""
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
    """Refuse a model's name as the first argument, which is seconds."""
    if isinstance(timeout_s, str):
        raise InvalidRequest.of(
            "timeout_s", f"is {timeout_s!r}; expected seconds; a model to wait for is model={timeout_s!r}"
        )


def _missing(models: Sequence[ModelSummary], wanted: str | None) -> str | None:
    """Return what a server with these models still lacks, or None if it is ready."""
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
