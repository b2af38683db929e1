"""Critic-guided selection: draws several proposals for each sample and lets the critic choose.

Proposal j of sample i is sample i * m + j of the same seed without selection, with the label of sample i (m proposals
at most); whether it is accepted depends on its own odds, its own random number and constants of the model. So a
selected sample does not depend on the count, the offset, the chunk or the company that it is asked for in.

Proposals are worked off in rounds of bounded groups: at most `_MOST_PROPOSALS`, and about `_MOST_BYTES`, at once. Best
of N takes all m proposals in one round where they fit. Rejection sampling takes `PROPOSALS_PER_ROUND` in each round,
for those samples alone that have none yet: how many are drawn for a sample depends on the sample alone, too.

Where scores are the same to the last bit in batches of any size, as on the CPU, so is the choice. Where the last bits
differ, as CUDA's may, two proposals that the rule finds equal to those bits can change places.

N = samples, A = samples that are still without an accepted proposal, R = proposals of a sample in one round,
Z = values of one latent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import time
import weakref
from typing import TYPE_CHECKING

import numpy as np

from ganserve_server.draw.drawing import Drawn, Terms, draw, joined
from ganserve_server.draw.latents import draw_acceptances, draw_labels, draw_latents
from ganserve_server.draw.rejection_sampling import CALIBRATION_SAMPLES, CALIBRATION_SEED, log_odds, rejection_constants
from ganserve_server.errors import DeadlineExpiredError
from ganserve_server.models.model import GeneratorWork
from ganserve_server.queue.lanes import Priority

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from numpy.typing import NDArray

    from ganserve_server.draw.rejection_sampling import RejectionConstants
    from ganserve_server.models.model import Labels, Model
    from ganserve_server.models.package import ModelInfo

    ArgumentsT = ParamSpec("ArgumentsT")
    ResultT = TypeVar("ResultT")

MOST_PROPOSALS_PER_SAMPLE = 1024
PROPOSALS_PER_ROUND = 4  # of rejection sampling
_MOST_PROPOSALS = 4096
_MOST_BYTES = 32 * 2**20  # once as the parts that come from the generator, and once joined for the critic
# Fewer values are looked at on the event loop itself.
_OFF_LOOP_VALUES = 2**16
_log = logging.getLogger(__name__)


class SelectionMethod(enum.Enum):
    """How the critic chooses."""

    BEST_OF_N = "best of n"
    """Of all proposals, the one with the highest score; the first of those that share it."""
    REJECTION = "rejection"
    """The first proposal that is accepted (see `core.rejection`), or the likeliest where none is."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """A selection that was asked for."""

    method: SelectionMethod
    most: int
    """m, the most proposals of one sample."""


class Selector:
    """Chooses samples, and knows the constants of rejection sampling of each model that it was asked for."""

    def __init__(self) -> None:
        self._constants: weakref.WeakKeyDictionary[Model, RejectionConstants] = weakref.WeakKeyDictionary()
        self._estimates: weakref.WeakKeyDictionary[Model, asyncio.Task[RejectionConstants]] = (
            weakref.WeakKeyDictionary()
        )

    async def draw(
        self,
        model: Model,
        work: GeneratorWork,
        count: int,
        selection: Selection,
        terms: Terms,
        *,
        latents: bool,
    ) -> Drawn:
        """Draws selected samples, with their scores; cancelling this frees the places of their proposals.

        Args:
            model: A model with a critic; for rejection sampling, with one that is calibrated.
            work: The samples; without latents.
            count: N.
            selection: How to choose.
            terms: How the proposals wait; all but the first are let into a full queue.
            latents: Whether the samples' latents are wanted.

        Raises:
            RequestError: See `Batcher.submit`.
        """
        constants = None
        if selection.method is SelectionMethod.REJECTION:
            constants = await self.constants(model, terms.deadline)
        kept = _Kept.nothing(model.info, count, latents=latents)
        at_once = _most_at_once(model.info)
        step = max(1, at_once // _round(selection, at_once))
        for start in range(0, count, step):
            size = min(step, count - start)
            group = _Group(model, work.from_sample(start, size), size, selection, constants)
            await group.choose(kept.part(start, size), terms)
            terms = terms.admitted()
        return Drawn(
            samples=[kept.samples],
            latents=[] if kept.latents is None else [kept.latents],
            labels=[_labels(model.info, work, count)] if model.info.label_names else [],
            scores=kept.scores,
            probabilities=kept.probabilities,
            proposed=int(kept.proposed.sum()),
            accepted=int(kept.accepted.sum()),
        )

    async def constants(self, model: Model, deadline: float | None = None) -> RejectionConstants:
        """Return the constants of a model: of its first `CALIBRATION_SAMPLES` unselected samples, drawn once.

        All requests that wait for them wait for the same draw, which goes on if they end.

        Raises:
            DeadlineExpiredError: The deadline passed before they were known.
            RequestError: See `Batcher.submit`.
        """
        if model in self._constants:
            return self._constants[model]
        loop = asyncio.get_running_loop()
        task = self._estimates.get(model)
        # A result is the same whoever draws it, so another event loop draws its own.
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._estimates[model] = loop.create_task(self._estimate(model))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        patience_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return await asyncio.wait_for(asyncio.shield(task), patience_s)
        except TimeoutError:
            raise DeadlineExpiredError(
                "the deadline passed while the model's acceptance was measured, once after it is loaded: ask again"
            ) from None

    async def _estimate(self, model: Model) -> RejectionConstants:
        terms = Terms(bulk=True, always_admit=True, priority=Priority.LOW)
        step = _most_at_once(model.info)
        odds = []
        for start in range(0, CALIBRATION_SAMPLES, step):
            size = min(step, CALIBRATION_SAMPLES - start)
            work = GeneratorWork(seed=CALIBRATION_SEED, offset=start)
            odds.append(_log_odds(model, await draw(model, work, size, terms, scored=True)))
        constants = self._constants[model] = rejection_constants(np.concatenate(odds))
        _log.info(
            "%s/%d: rejection sampling accepts by d_M = %g and gamma = %g",
            *(model.info.name, model.info.version, constants.largest_log_odds, constants.gamma),
        )
        return constants


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """What is kept of the proposals of some samples: the best of each so far. Arrays of N."""

    samples: NDArray[np.generic]
    latents: NDArray[np.float32] | None
    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    merits: NDArray[np.float64]
    """What the rule goes by."""
    accepted: NDArray[np.bool_]
    proposed: NDArray[np.int64]

    @classmethod
    def nothing(cls, info: ModelInfo, count: int, *, latents: bool) -> _Kept:
        """Make room for samples."""
        return cls(
            samples=np.empty((count, *info.sample_shape), info.sample_dtype),
            latents=np.empty((count, info.latent_dimension), np.float32) if latents else None,
            scores=np.empty(count, np.float32),
            probabilities=np.empty(count, np.float32),
            merits=np.empty(count, np.float64),
            accepted=np.zeros(count, np.bool_),
            proposed=np.zeros(count, np.int64),
        )

    def part(self, start: int, count: int) -> _Kept:
        """Return some of them, in the same memory."""
        rows = slice(start, start + count)
        return _Kept(
            samples=self.samples[rows],
            latents=None if self.latents is None else self.latents[rows],
            scores=self.scores[rows],
            probabilities=self.probabilities[rows],
            merits=self.merits[rows],
            accepted=self.accepted[rows],
            proposed=self.proposed[rows],
        )


class _Group:
    """Samples whose proposals are drawn together."""

    def __init__(
        self,
        model: Model,
        work: GeneratorWork,
        count: int,
        selection: Selection,
        constants: RejectionConstants | None,
    ) -> None:
        self._model = model
        self._work = work
        self._selection = selection
        self._constants = constants
        self._labels = _labels(model.info, work, count) if model.info.label_names else None
        self._open = np.arange(count)

    async def choose(self, kept: _Kept, terms: Terms) -> None:
        """Draws proposals round by round until each sample has one that is accepted, or all that it may have."""
        most = self._selection.most
        size = _round(self._selection, _most_at_once(self._model.info))
        for first in range(0, most, size):
            each = min(size, most - first)
            values = len(self._open) * each * self._model.info.latent_dimension
            work = await _aside(values, self._proposals, first, each)
            drawn = await draw(self._model, work, len(self._open) * each, terms, scored=True)
            await _aside(drawn.samples[0].size, self._keep, kept, drawn, first, each)
            terms = terms.admitted()
            if not len(self._open):
                break

    def _proposals(self, first: int, each: int) -> GeneratorWork:
        """Return the work of proposals `first` to `first + each` of the open samples, [A * R]."""
        work, info = self._work, self._model.info
        starts = self._starts(first)
        labels: Labels = work.labels if isinstance(work.labels, int) else None
        if labels is None and self._labels is not None:
            labels = np.repeat(self._labels[self._open], each)
        if starts[-1] - starts[0] == (len(starts) - 1) * each:  # they follow one another: the batcher draws them
            return dataclasses.replace(work, offset=starts[0], labels=labels)
        controls = tuple(info.controls.values())
        latents = [
            draw_latents(work.seed, start, each, info.latent_dimension, info.distribution, work.truncation, controls)
            for start in starts
        ]
        return dataclasses.replace(work, labels=labels, latents=np.concatenate(latents))

    def _starts(self, first: int) -> list[int]:
        """Return the index of proposal `first` of each open sample within the seed's sequence, [A]."""
        most, offset = self._selection.most, self._work.offset
        return [(offset + row) * most + first for row in self._open.tolist()]

    def _keep(self, kept: _Kept, drawn: Drawn, first: int, each: int) -> None:
        """Keep the proposal of each open sample that was accepted, or that is better than what was kept."""
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
        # Of equals, argmax takes the first.
        columns = np.where(hit, hits.argmax(axis=1), merits.argmax(axis=1))
        chosen = np.arange(len(rows)) * each + columns
        new = hit | (merits.flat[chosen] > kept.merits[rows]) if first else np.ones(len(rows), np.bool_)
        into, taken = rows[new], chosen[new]
        kept.samples[into] = drawn.samples[0][taken]
        if kept.latents is not None:
            kept.latents[into] = joined(drawn.latents)[taken]
        kept.scores[into] = drawn.scores[taken]
        kept.probabilities[into] = drawn.probabilities[taken]
        kept.merits[into] = merits.flat[taken]
        kept.proposed[rows] += each
        if self._constants is None:
            # Whatever is the best of all is what this rule accepts.
            kept.accepted[rows] = True
        else:
            kept.accepted[rows] = hit
            self._open = rows[~hit]


def _round(selection: Selection, at_once: int) -> int:
    """Return how many proposals of a sample one round draws."""
    whole = PROPOSALS_PER_ROUND if selection.method is SelectionMethod.REJECTION else at_once
    return min(selection.most, whole)


def _most_at_once(info: ModelInfo) -> int:
    """Return how many proposals are drawn at once."""
    size = info.sample_bytes + 4 * info.latent_dimension
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
    """Call a function on another thread if it looks at many values, so that the event loop lives on."""
    if values < _OFF_LOOP_VALUES:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)
