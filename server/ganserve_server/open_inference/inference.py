"""Run requests in named tensors through a graph's batcher. N = samples, Z = values of one latent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2
from ganserve_server.identity.identity import require_role
from ganserve_server.identity.quotas import within_quota
from ganserve_server.models.latents import Purpose, labels_from_words, latents_from_words, random_words
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import CriticWork, GeneratorWork, mixed_latents
from ganserve_server.models.repository import Repository
from ganserve_server.open_inference.graphs import Graphs
from ganserve_server.open_inference.plan import InferencePlan, InferenceRequest, ManySeeds, plan_inference
from ganserve_server.queue.lanes import Arrays
from ganserve_server.queue.options import QueueOptions
from ganserve_server.requests.limits import Limits

# For requests with many seeds: latent values drawn at a time, and values and seeds drawn on the event loop instead of a
# thread. A seed takes about ten microseconds.
_VALUES_AT_A_TIME, _VALUES_ON_LOOP, _SEEDS_ON_LOOP = 2**20, 2**12, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceResult:
    """The result of one run."""

    plan: InferencePlan
    """The request, as planned for the version that ran."""
    outputs: tuple[list[NDArray[np.generic]], ...]
    """The plan's outputs in order, each as parts to concatenate along the first axis."""


class Inference:
    """Checks and runs requests; `graphs` finds the graphs. Methods raise `RequestError`."""

    def __init__(self, repository: Repository, limits: Limits | None = None) -> None:
        self.graphs = Graphs(repository)
        self._repository = repository
        self.limits = limits or Limits()

    def plan(self, request: InferenceRequest, *, deadline: float | None = None) -> InferencePlan:
        """Check a request; `deadline` is a value of `time.monotonic()`, which the request may shorten."""
        graph = self.graphs.resolve(request.model, request.version)
        require_role("score" if graph.is_critic else "sample")
        return plan_inference(graph, request, self.limits, deadline)

    async def run(self, plan: InferencePlan, caller: str = "") -> InferenceResult:
        """Compute a request of a caller. Cancelling frees its place in the queue."""
        while not (leases := plan.graph.model.leases).acquire():
            # Its model was replaced since the check.
            plan = self.plan(plan.request, deadline=plan.deadline)
        try:
            async with within_quota(plan.count, wait=False):
                parts = await _submit(plan, caller)
        finally:
            leases.release()
        names = ("scores", "probabilities") if plan.graph.is_critic else ("samples", "latents", "labels")
        places = {name: place for place, name in enumerate(names)} | {"w": -1}
        outputs = tuple([part[places[one.name]] for part in parts] for one in plan.outputs)
        return InferenceResult(plan=plan, outputs=outputs)

    async def load(self, name: str) -> gan_service_pb2.ModelSummary:
        """Load the latest version of a model, even if it is loaded already."""
        return await self._repository.off_loop(self._repository.load_model, self.graphs.model_name(name), 0)

    async def unload(self, name: str) -> gan_service_pb2.ModelSummary:
        """Unload all versions of a model; their running requests finish."""
        return await self._repository.off_loop(self._repository.unload_model, self.graphs.model_name(name), 0)


async def _submit(plan: InferencePlan, caller: str) -> list[Arrays]:
    """Return the arrays of each part."""
    model, work = plan.graph.model, plan.work
    options = QueueOptions(deadline=plan.deadline, priority=plan.priority, caller=caller)
    if isinstance(work, CriticWork):
        assert model.critic is not None, "a model without a critic has no critic graph"
        return await model.critic.submit(work, plan.count, options)
    if isinstance(work, GeneratorWork):
        return await model.generator.submit(work, plan.count, options)
    parts: list[Arrays] = []
    step = max(1, _VALUES_AT_A_TIME // model.info.latent_dimension)
    # Several parts wait as bulk work, so that others need not wait for all. Only the first part can be refused.
    options.bulk = plan.count > step
    for start in range(0, plan.count, step):
        some = work.part(start, step)
        seeds = len(some.seeds)
        if seeds <= _SEEDS_ON_LOOP and seeds * model.info.latent_dimension <= _VALUES_ON_LOOP:
            drawn = _draw(model.info, some)
        else:
            drawn = await asyncio.to_thread(_draw, model.info, some)
        parts += await model.generator.submit(drawn, len(some.seeds), options)
        options = options.admitted()
    return parts


def _draw(info: ModelInfo, work: ManySeeds) -> GeneratorWork:
    """Draw the latents, and the labels if the request has none, of one sample of each seed."""
    seeds: list[int] = work.seeds.tolist()
    words = _first_words(seeds, Purpose.LATENTS, work.offset, info.latent_dimension)
    truncations = None if work.truncation is None else np.full(len(seeds), work.truncation)
    labels = work.labels
    if info.label_names and labels is None:
        labels = labels_from_words(_first_words(seeds, Purpose.LABELS, work.offset, 1)[:, 0], len(info.label_names))
    drawn = GeneratorWork(
        latents=latents_from_words(words, info.distribution, truncations, tuple(info.controls.values())),
        labels=labels,
        controls=work.controls,
        style=work.style,
    )
    if work.style is not None and work.style.mix_from:
        one = mixed_latents(info, drawn, work.offset, 1)
        drawn.style = replace(work.style, mix_latents=np.repeat(one, len(seeds), axis=0))
    return drawn


def _first_words(seeds: Sequence[int], purpose: Purpose, index: int, count: int) -> NDArray[np.uint64]:
    """Return the random words, uint64 [N, count], of each seed's sample with this index."""
    words = np.empty((len(seeds), count), np.uint64)
    for row, seed in enumerate(seeds):
        words[row] = random_words(seed, purpose, index, 1, count)[0]
    return words
