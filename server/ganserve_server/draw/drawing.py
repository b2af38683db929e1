"""Draws samples through a model's batchers, and scores them. N = samples, Z = values of one latent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from ganserve_server.models.model import CriticWork
from ganserve_server.queue.lanes import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_server.models.model import GeneratorWork, Labels, Model

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclasses.dataclass(kw_only=True, slots=True)  # made for every request: freezing it would cost
class Terms:
    """How work waits; see `Batcher.submit`."""

    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    bulk: bool = False
    always_admit: bool = False

    def with_priority(self, priority: Priority) -> Terms:
        """Return the same terms with another priority."""
        return dataclasses.replace(self, priority=priority)

    def admitted(self) -> Terms:
        """Return the terms of what follows a part that was let in."""
        return dataclasses.replace(self, always_admit=True)


@dataclasses.dataclass(kw_only=True, slots=True)
class Drawn:
    """Samples, and what belongs to them."""

    samples: list[NDArray[np.generic]]
    """Parts [n, ...] in the order of the samples; together they have N of them."""
    latents: list[NDArray[np.float32]]
    """Of the same parts, [n, Z]."""
    labels: list[NDArray[np.int64]]
    """Of the same parts, [n]; none if the model is unconditional."""
    scores: NDArray[np.float32] | None
    """[N], if asked for."""
    probabilities: NDArray[np.float32] | None
    """[N], if asked for."""
    proposed: int = 0
    """With a selection: the samples that these were chosen from."""
    accepted: int = 0
    """With a selection: those of these samples that its rule accepted."""


async def draw(model: Model, work: GeneratorWork, count: int, terms: Terms, *, scored: bool) -> Drawn:
    """Draws samples; cancelling this frees their places.

    Args:
        model: The model.
        work: The samples.
        count: N.
        terms: How they wait.
        scored: Whether the critic scores them.

    Raises:
        RequestError: See `Batcher.submit`.
    """
    parts = await model.generator.submit(
        work,
        count,
        deadline=terms.deadline,
        bulk=terms.bulk,
        always_admit=terms.always_admit,
        priority=terms.priority,
    )
    samples = [part[0] for part in parts]
    latents = cast("list[NDArray[np.float32]]", [part[1] for part in parts])
    labels = cast("list[NDArray[np.int64]]", [part[2] for part in parts] if model.info.label_names else [])
    scores = probabilities = None
    if scored:
        # A critic that takes no labels scores what a conditional generator drew without them.
        own = joined(labels) if model.info.critic_takes_labels else None
        samples = [joined(samples)]
        scores, probabilities = await score(model, samples[0], own, terms.admitted())
    return Drawn(samples=samples, latents=latents, labels=labels, scores=scores, probabilities=probabilities)


async def score(
    model: Model, samples: NDArray[np.generic], labels: Labels, terms: Terms
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores samples; cancelling this frees their places.

    Args:
        model: A model with a critic.
        samples: [N, ...] in the model's shape and type.
        labels: One for all, int64 [N], or None for critics that take none.
        terms: How they wait.

    Returns:
        Scores and probabilities, [N] each.

    Raises:
        RequestError: See `Batcher.submit`.
    """
    assert model.critic is not None, "plans for scores are refused without a critic"
    parts = await model.critic.submit(
        CriticWork(samples=samples, labels=labels),
        len(samples),
        deadline=terms.deadline,
        bulk=terms.bulk,
        always_admit=terms.always_admit,
        priority=terms.priority,
    )
    scores, probabilities = (joined([part[index] for part in parts]) for index in (0, 1))
    return cast("NDArray[np.float32]", scores), cast("NDArray[np.float32]", probabilities)


def joined(parts: list[NDArray[ScalarT]]) -> NDArray[ScalarT]:
    """Return parts as one array; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
