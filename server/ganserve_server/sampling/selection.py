"""Draw several proposals for each sample and let the critic choose one.

With at most m proposals, proposal j of sample i is sample i * m + j of the same seed without selection, with the label
of sample i. Its acceptance depends on its own odds, its own random number and constants of the model. So a selected
sample does not depend on the request's count, offset or chunks, or on other requests.

Samples are handled in groups of at most `_MOST_PROPOSALS` and about `_MOST_BYTES`, and each group in rounds. Best of N
draws all m proposals in one round if they fit. Rejection sampling draws `PROPOSALS_PER_ROUND` in each round, only for
samples without an accepted proposal: so the number of proposals also depends only on the sample.

If scores are identical in batches of any size, as on the CPU, so is the choice. If the last bits differ, as they may on
CUDA, two proposals with nearly equal merit can change places.

N = samples, A = samples without an accepted proposal, R = proposals of a sample in one round, Z = values of one latent.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganserve_server.errors import DeadlineExpiredError
from ganserve_server.models.latents import draw_acceptances, draw_labels, draw_latents
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import GeneratorWork, Labels, Model, mixed_latents
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.options import QueueOptions
from ganserve_server.sampling.drawing import Drawn, draw, joined
from ganserve_server.sampling.rejection_sampling import (
    CALIBRATION_SAMPLES,
    CALIBRATION_SEED,
    RejectionConstants,
    log_odds,
    rejection_constants,
)

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

MOST_PROPOSALS_PER_SAMPLE = 1024
PROPOSALS_PER_ROUND = 4  # of rejection sampling
_MOST_PROPOSALS = 4096
_MOST_BYTES = 32 * 2**20  # held twice: as parts from the generator, and joined for the critic
# Up to this many values are processed on the event loop.
_OFF_LOOP_VALUES = 2**16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """A requested selection."""

    rejection: bool
    """True: take the first accepted proposal (see `rejection_sampling`), or the likeliest if none is. False: take the
    best of N, the proposal with the highest score; the first of equal ones."""
    most: int
    """m, the most proposals for one sample."""


class Selector:
    """Draws selected samples, and caches each model's constants of rejection sampling."""

    def __init__(self) -> None:
        self._constants = weakref.WeakKeyDictionary[Model, RejectionConstants]()
        self._estimates = weakref.WeakKeyDictionary[Model, asyncio.Task[RejectionConstants]]()

    async def draw(
        self,
        model: Model,
        work: GeneratorWork,
        count: int,
        selection: Selection,
        options: QueueOptions,
        *,
        latents: bool,
    ) -> Drawn:
        """Draw selected samples with their scores. Cancelling frees the proposals' places in the queue.

        The model has a critic, which is calibrated for rejection sampling; the work has no latents. Only the first
        group of proposals can be refused by a full queue. `latents` asks for the samples' latents.
        """
        constants = await self.constants(model, options.deadline) if selection.rejection else None
        w = work.style is not None and work.style.return_w
        kept = _Kept.nothing(model.info, count, latents=latents, w=w)
        at_once = _most_at_once(model.info)
        step = max(1, at_once // _round(selection, at_once))
        for start in range(0, count, step):
            size = min(step, count - start)
            group = _Group(model, work.from_sample(start, size), size, selection, constants)
            await group.choose(kept.part(start, size), options)
            options = options.admitted()
        return Drawn(
            samples=[kept.samples],
            latents=[] if kept.latents is None else [kept.latents],
            labels=[_labels(model.info, work, count)] if model.info.label_names else [],
            scores=kept.scores,
            probabilities=kept.probabilities,
            w=None if kept.w is None else [kept.w],
            proposed=int(kept.proposed.sum()),
            accepted=int(kept.accepted.sum()),
        )

    async def constants(self, model: Model, deadline: float | None = None) -> RejectionConstants:
        """Return the constants of a model, from its first `CALIBRATION_SAMPLES` unselected samples.

        They are drawn once. All requests wait for the same draw, which continues if a request ends or its deadline
        passes.
        """
        if model in self._constants:
            return self._constants[model]
        loop = asyncio.get_running_loop()
        task = self._estimates.get(model)
        # Another event loop cannot await this one's task, so it draws the same constants itself.
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._estimates[model] = loop.create_task(self._estimate(model))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        patience_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return await asyncio.wait_for(asyncio.shield(task), patience_s)
        except TimeoutError:
            raise DeadlineExpiredError(
                "the deadline passed during the measurement of the model's acceptance, which runs once per load: retry"
            ) from None

    async def _estimate(self, model: Model) -> RejectionConstants:
        options = QueueOptions(bulk=True, always_admit=True, priority=Priority.LOW)
        step = _most_at_once(model.info)
        odds = []
        for start in range(0, CALIBRATION_SAMPLES, step):
            size = min(step, CALIBRATION_SAMPLES - start)
            work = GeneratorWork(seed=CALIBRATION_SEED, offset=start)
            odds.append(_log_odds(model, await draw(model, work, size, options, scored=True)))
        constants = self._constants[model] = rejection_constants(np.concatenate(odds))
        _log.info(
            "%s/%d: rejection sampling accepts by d_M = %g and gamma = %g",
            *(model.info.name, model.info.version, constants.largest_log_odds, constants.gamma),
        )
        return constants


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """The best proposal of each sample so far. All arrays have N rows."""

    samples: NDArray[np.generic]
    latents: NDArray[np.float32] | None
    w: NDArray[np.float32] | None
    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    merits: NDArray[np.float64]
    """The values that the rule compares."""
    accepted: NDArray[np.bool_]
    proposed: NDArray[np.int64]

    @classmethod
    def nothing(cls, info: ModelInfo, count: int, *, latents: bool, w: bool) -> _Kept:
        """Allocate the arrays."""
        style = info.style if w else None
        return cls(
            samples=np.empty((count, *info.sample_shape), info.sample_dtype),
            latents=np.empty((count, info.latent_dimension), np.float32) if latents else None,
            w=None if style is None else np.empty((count, style.layers, style.w_dimension), np.float32),
            scores=np.empty(count, np.float32),
            probabilities=np.empty(count, np.float32),
            merits=np.empty(count, np.float64),
            accepted=np.zeros(count, np.bool_),
            proposed=np.zeros(count, np.int64),
        )

    def part(self, start: int, count: int) -> _Kept:
        """Return a view of some rows."""
        rows = slice(start, start + count)
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        parts: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return _Kept(**parts)


class _Group:
    """A group of samples whose proposals are drawn together."""

    def __init__(
        self, model: Model, work: GeneratorWork, count: int, selection: Selection, constants: RejectionConstants | None
    ) -> None:
        self._model = model
        self._work = work
        self._selection = selection
        self._constants = constants
        self._labels = _labels(model.info, work, count) if model.info.label_names else None
        self._open = np.arange(count)

    async def choose(self, kept: _Kept, options: QueueOptions) -> None:
        """Draw rounds of proposals until each sample has an accepted one, or its most proposals."""
        most = self._selection.most
        size = _round(self._selection, _most_at_once(self._model.info))
        for first in range(0, most, size):
            each = min(size, most - first)
            values = len(self._open) * each * self._model.info.latent_dimension
            work = await _aside(values, self._proposals, first, each)
            drawn = await draw(self._model, work, len(self._open) * each, options, scored=True)
            await _aside(drawn.samples[0].size, self._keep, kept, drawn, first, each)
            options = options.admitted()
            if not len(self._open):
                break

    def _proposals(self, first: int, each: int) -> GeneratorWork:
        """Return the work for proposals `first` to `first + each` of the open samples, [A * R]."""
        work, info = self._work, self._model.info
        starts = self._starts(first)
        labels: Labels = work.labels if isinstance(work.labels, int) else None
        if labels is None and self._labels is not None:
            labels = np.repeat(self._labels[self._open], each)
        if starts[-1] - starts[0] == (len(starts) - 1) * each:  # consecutive indices: the batcher draws the latents
            return replace(work, offset=starts[0], labels=labels)
        controls = tuple(info.controls.values())
        latents = [
            draw_latents(work.seed, start, each, info.latent_dimension, info.distribution, work.truncation, controls)
            for start in starts
        ]
        style = work.style
        if style is not None and style.mix_from:
            mixed = [mixed_latents(info, work, start, each) for start in starts]
            style = replace(style, mix_latents=np.concatenate(mixed))
        return replace(work, labels=labels, latents=np.concatenate(latents), style=style)

    def _starts(self, first: int) -> list[int]:
        """Return the index within the seed's sequence of each open sample's proposal `first`, [A]."""
        most, offset = self._selection.most, self._work.offset
        return [(offset + row) * most + first for row in self._open.tolist()]

    def _keep(self, kept: _Kept, drawn: Drawn, first: int, each: int) -> None:
        """Keep each open sample's proposal if it is accepted, or better than the one kept so far."""
        assert drawn.scores is not None
        assert drawn.probabilities is not None
        rows, shape = self._open, (len(self._open), each)
        if self._constants is None:
            merits = drawn.scores.reshape(shape).astype(np.float64)
            hits = np.zeros(shape, np.bool_)
        else:
            merits = _log_odds(self._model, drawn).reshape(shape)
            chances = [draw_acceptances(self._work.seed, start, each) for start in self._starts(first)]
            hits = np.stack(chances) < self._constants.acceptance(merits)
        hit = hits.any(axis=1)
        # argmax returns the first of equal values.
        columns = np.where(hit, hits.argmax(axis=1), merits.argmax(axis=1))
        chosen = np.arange(len(rows)) * each + columns
        new = hit | (merits.flat[chosen] > kept.merits[rows]) if first else np.ones(len(rows), np.bool_)
        into, taken = rows[new], chosen[new]
        kept.samples[into] = drawn.samples[0][taken]
        if kept.latents is not None:
            kept.latents[into] = joined(drawn.latents)[taken]
        if kept.w is not None:
            assert drawn.w is not None
            kept.w[into] = joined(drawn.w)[taken]
        kept.scores[into] = drawn.scores[taken]
        kept.probabilities[into] = drawn.probabilities[taken]
        kept.merits[into] = merits.flat[taken]
        kept.proposed[rows] += each
        if self._constants is None:
            # This rule accepts the best proposal.
            kept.accepted[rows] = True
        else:
            kept.accepted[rows] = hit
            self._open = rows[~hit]


def _round(selection: Selection, at_once: int) -> int:
    """Return the number of proposals for each sample in one round."""
    whole = PROPOSALS_PER_ROUND if selection.rejection else at_once
    return min(selection.most, whole)


def _most_at_once(info: ModelInfo) -> int:
    size = info.sample_bytes + 4 * info.latent_dimension + (0 if info.style is None else info.style.w_bytes)
    return max(1, min(_MOST_PROPOSALS, _MOST_BYTES // size))


def _labels(info: ModelInfo, work: GeneratorWork, count: int) -> NDArray[np.int64]:
    """Return the label of each sample of a work, [N]."""
    if work.labels is None:
        return draw_labels(work.seed, work.offset, count, len(info.label_names))
    return np.broadcast_to(np.asarray(work.labels, np.int64), count)


def _log_odds(model: Model, drawn: Drawn) -> NDArray[np.float64]:
    assert drawn.scores is not None
    labels = joined(drawn.labels) if model.info.critic_takes_labels else None
    return log_odds(model, drawn.scores, labels)


async def _aside(
    values: int, function: Callable[ArgumentsT, ResultT], *arguments: ArgumentsT.args, **named: ArgumentsT.kwargs
) -> ResultT:
    """Call a function, on another thread if it processes many values."""
    if values < _OFF_LOOP_VALUES:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)
