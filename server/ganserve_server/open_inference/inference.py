"""Inference with named tensors: checks what a request gives a graph, and runs it through the graph's batcher.

N = samples, Z = values of one latent.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ganserve_server.draw.latents import Purpose, labels_from_words, latents_from_words, random_words
from ganserve_server.models.model import CriticWork, GeneratorWork
from ganserve_server.open_inference.graphs import Graphs
from ganserve_server.open_inference.plans import InferencePlan, Seeds, plan_inference
from ganserve_server.requests.work import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ganserve.v1 import gan_service_pb2
    from ganserve_server.models.package import ModelInfo
    from ganserve_server.models.repository import Repository
    from ganserve_server.open_inference.graphs import Port
    from ganserve_server.open_inference.plans import InferenceRequest
    from ganserve_server.queue.lanes import Arrays

# Of a request with many seeds, as many latent values are drawn at a time, and so many on the event loop itself.
_VALUES_AT_A_TIME, _VALUES_ON_LOOP = 2**20, 2**12


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InferenceResult:
    """What a graph answered."""

    model: str
    """Name of the graph."""
    version: int
    outputs: tuple[tuple[Port, list[NDArray[np.generic]]], ...]
    """Each output that was asked for, in that order: its parts, one after the other along the first axis."""
    count: int
    """N."""
    seed: int | None
    """The one that all samples were drawn from; None if there were several, or latents, or nothing was drawn."""


class Inference:
    """Answers requests in tensors; `graphs` tells which graphs there are."""

    def __init__(self, repository: Repository, limits: Limits | None = None) -> None:
        self.graphs = Graphs(repository)
        self._repository = repository
        self._limits = limits or Limits()

    def plan(self, request: InferenceRequest, *, deadline: float | None = None) -> InferencePlan:
        """Check a request.

        Args:
            request: The request.
            deadline: `time.monotonic()` after which work that was not started is dropped; the request may shorten it.

        Raises:
            RequestError: What is wrong with it.
        """
        graph = self.graphs.resolve(request.model, request.version)
        return plan_inference(graph, request, self._limits, deadline)

    async def run(self, plan: InferencePlan) -> InferenceResult:
        """Has a request computed; cancelling this frees its place.

        Raises:
            RequestError: Why it cannot be.
        """
        while not (leases := plan.graph.model.leases).acquire():
            # Another version took its place since it was checked.
            plan = self.plan(plan.request, deadline=plan.deadline)
        try:
            parts = await _submit(plan)
        finally:
            leases.release()
        graph = plan.graph
        names = ("scores", "probabilities") if graph.is_critic else ("samples", "latents", "labels")
        return InferenceResult(
            model=graph.name,
            version=graph.model.info.version,
            outputs=tuple((port, [part[names.index(port.name)] for part in parts]) for port in plan.outputs),
            count=plan.count,
            seed=plan.seed,
        )

    async def load(self, name: str) -> gan_service_pb2.ModelSummary:
        """Load the latest version of a model, or loads it again.

        Raises:
            RequestError: Why it cannot.
        """
        return await self._repository.off_loop(self._repository.load_model, self.graphs.model_name(name), 0)

    async def unload(self, name: str) -> gan_service_pb2.ModelSummary:
        """Unloads all versions of a model once the requests that they have are finished.

        Raises:
            RequestError: Why it cannot.
        """
        return await self._repository.off_loop(self._repository.unload_model, self.graphs.model_name(name), 0)


async def _submit(plan: InferencePlan) -> list[Arrays]:
    """Return the arrays of each part."""
    model, work = plan.graph.model, plan.work
    if isinstance(work, CriticWork):
        assert model.critic is not None, "there is no graph of a critic that is not there"
        return await model.critic.submit(work, plan.count, deadline=plan.deadline, priority=plan.priority)
    if isinstance(work, GeneratorWork):
        return await model.generator.submit(work, plan.count, deadline=plan.deadline, priority=plan.priority)
    parts: list[Arrays] = []
    step = max(1, _VALUES_AT_A_TIME // model.info.latent_dimension)
    for start in range(0, plan.count, step):
        some = work.part(start, step)
        if len(some.seeds) * model.info.latent_dimension <= _VALUES_ON_LOOP:
            drawn = _draw(model.info, some)
        else:
            drawn = await asyncio.to_thread(_draw, model.info, some)
        parts += await model.generator.submit(
            drawn,
            len(some.seeds),
            deadline=plan.deadline,
            # The first part alone can be turned away, and beyond one part nobody is to wait for all of them.
            bulk=plan.count > step,
            always_admit=start > 0,
            priority=plan.priority,
        )
    return parts


def _draw(info: ModelInfo, work: Seeds) -> GeneratorWork:
    """Draws the latents, and the labels where there are none, of one sample of each seed."""
    seeds: list[int] = work.seeds.tolist()
    words = _first_words(seeds, Purpose.LATENTS, work.offset, info.latent_dimension)
    truncations = None if work.truncation is None else np.full(len(seeds), work.truncation)
    labels = work.labels
    if info.label_names and labels is None:
        labels = labels_from_words(_first_words(seeds, Purpose.LABELS, work.offset, 1)[:, 0], len(info.label_names))
    return GeneratorWork(
        latents=latents_from_words(words, info.distribution, truncations, tuple(info.controls.values())),
        labels=labels,
        controls=work.controls,
    )


def _first_words(seeds: Sequence[int], purpose: Purpose, index: int, count: int) -> NDArray[np.uint64]:
    """Return the words uint64 [N, count] of the sample with that index of each seed."""
    words = np.empty((len(seeds), count), np.uint64)
    for row, seed in enumerate(seeds):
        words[row] = random_words(seed, purpose, index, 1, count)[0]
    return words
