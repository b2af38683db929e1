"""Draw samples with a model's generator and score them with its critic. N = samples, Z = values of one latent."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ganserve_server.models.model import CriticWork, GeneratorWork, Labels, Model
from ganserve_server.queue.options import QueueOptions

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(kw_only=True, slots=True)
class Drawn:
    """Samples with their latents, labels and scores."""

    samples: list[NDArray[np.generic]]
    """Parts [n, ...] in the order of the samples; together they have N of them."""
    latents: list[NDArray[np.float32]]
    """Latents of the same parts, [n, Z]."""
    labels: list[NDArray[np.int64]]
    """Labels of the same parts, [n]; no parts if the model is unconditional."""
    scores: NDArray[np.float32] | None
    """[N], if requested."""
    probabilities: NDArray[np.float32] | None
    """[N], if requested."""
    proposed: int = 0
    """Number of proposals, if there is a selection."""
    accepted: int = 0
    """Number of these samples that the rule accepted, if there is a selection."""
    w: list[NDArray[np.float32]] | None = None
    """The w's of the same parts, [n, L, W], if requested."""


@dataclass(kw_only=True, slots=True)
class Scored:
    """Scores of samples."""

    scores: NDArray[np.float32]
    """[N]."""
    probabilities: NDArray[np.float32]
    """[N]."""
    typicality: NDArray[np.float32] | None
    """[N], if requested and the model has it."""


async def draw(model: Model, work: GeneratorWork, count: int, options: QueueOptions, *, scored: bool) -> Drawn:
    """Draw `count` samples, and score them if `scored`. Cancelling frees their places in the queue."""
    parts = await model.generator.submit(work, count, options)
    samples = [part[0] for part in parts]
    latents = cast("list[NDArray[np.float32]]", [part[1] for part in parts])
    labels = cast("list[NDArray[np.int64]]", [part[2] for part in parts] if model.info.label_names else [])
    w = None
    if work.style is not None and work.style.return_w:
        w = cast("list[NDArray[np.float32]]", [part[-1] for part in parts])
    scores = probabilities = None
    if scored:
        # A conditional generator may have a critic that takes no labels.
        own = joined(labels) if model.info.critic_takes_labels else None
        if len(samples) > 1:
            samples = [await asyncio.to_thread(joined, samples)]
        scored_samples = await score(model, samples[0], own, options.admitted())
        scores, probabilities = scored_samples.scores, scored_samples.probabilities
    return Drawn(samples=samples, latents=latents, labels=labels, scores=scores, probabilities=probabilities, w=w)


async def score(
    model: Model, samples: NDArray[np.generic], labels: Labels, options: QueueOptions, *, ranked: bool = False
) -> Scored:
    """Score samples [N, ...] in the model's shape and type, and find their typicality if `ranked`.

    Cancelling frees their places in the queue. `labels` are None for critics that take none.
    """
    assert model.critic is not None, "requests for scores are refused without a critic"
    ranked = ranked and model.info.atypical_until is not None
    work = CriticWork(samples=samples, labels=labels, typicality=ranked)
    parts = cast("list[tuple[NDArray[np.float32], ...]]", await model.critic.submit(work, len(samples), options))
    return Scored(
        scores=joined([part[0] for part in parts]),
        probabilities=joined([part[1] for part in parts]),
        typicality=joined([part[2] for part in parts]) if ranked else None,
    )


def joined(parts: list[NDArray[ScalarT]]) -> NDArray[ScalarT]:
    """Return the parts as one array, without copying a single part."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
