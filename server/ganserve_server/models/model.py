"""Run one loaded version of a model: its work, its engines and the batchers in front of them.

N = samples, Z = values of one latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.engine import Engine
from ganserve_server.engine.sessions import EngineConfig, Feed
from ganserve_server.models.engines import make_engines
from ganserve_server.models.latents import Purpose, draw_latents, labels_from_words, latents_from_words, random_words
from ganserve_server.models.leases import Leases
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.package_files import Package
from ganserve_server.models.style import Style, StyleWork
from ganserve_server.models.style_inputs import style_feed
from ganserve_server.models.trial_inputs import fitted, trial_feeds
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.lanes import Slice, WorkT
from ganserve_server.queue.options import BatchConfig

Labels = int | NDArray[np.int64] | None

_SliceT = TypeVar("_SliceT", bound=Slice[Any])


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class GeneratorWork:
    """Samples to draw."""

    seed: int = 0
    offset: int = 0
    """Index of the first sample."""
    truncation: float | None = None
    labels: Labels = None
    """One for all samples, int64 [N], or None: drawn from (seed, index), or the model is unconditional."""
    controls: tuple[tuple[int, float], ...] = ()
    """Latent values to set in all samples: index and value."""
    latents: NDArray[np.float32] | None = None
    """float32 [N, Z], in place of drawn ones."""
    style: StyleWork | None = None
    """For models with a mapping; None: the model's defaults."""

    def from_sample(self, start: int, count: int) -> GeneratorWork:
        """Return the work of `count` of these samples, from `start` on."""
        labels = self.labels[start : start + count] if isinstance(self.labels, np.ndarray) else self.labels
        latents = None if self.latents is None else self.latents[start : start + count]
        style = None if self.style is None else self.style.part(start, count)
        return replace(self, offset=self.offset + start, labels=labels, latents=latents, style=style)


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class CriticWork:
    """Samples to score."""

    samples: NDArray[np.generic]
    """[N, ...] in the model's shape and type."""
    labels: Labels = None
    """One for all samples, or int64 [N]; None if the critic takes no labels."""
    typicality: bool = False
    """True to rank the samples, too; for models that can."""


class Model:
    """A model that answers requests through two batchers, `generator` and `critic` (None without one)."""

    def __init__(self, package: Package, engine_config: EngineConfig, batch_config: BatchConfig) -> None:
        """Make the sessions, check them against the manifest and warm them up. Takes seconds.

        Raises PackageError if a graph contradicts the manifest or a trial run fails, and ProviderError.
        """
        self.info = package.info
        self.spec = package.spec
        self.digest = package.digest
        """Identifies the content of the package."""
        engine_config, batch_config = fitted(package.info, engine_config, batch_config)
        self.max_batch_size = batch_config.max_batch_size
        self.leases = Leases()
        """The requests that use the model."""
        self._controls = tuple(package.info.controls.values())
        feeds = trial_feeds(package.info, engine_config, batch_config)
        self._full_feed = feeds[-1]
        self._engines = engines = make_engines(package, engine_config, feeds)
        self._generator, self._critic, self._typicality = engines.generator, engines.critic, engines.typicality
        self.providers = self._generator.providers
        """The execution providers that run it, first choice first."""
        self.generator = self._batcher("generator", self._generate, [(self._generator, feeds)], batch_config)
        self.critic = None
        if self._critic is not None:
            trials = [(self._critic, engines.critic_feeds)]
            if self._typicality is not None:
                trials.append((self._typicality, engines.typicality_feeds))
            try:
                self.critic = self._batcher("critic", self._score, trials, batch_config)
            except BaseException:
                self.generator.close()
                raise

    def _batcher(
        self,
        graph: str,
        run: Callable[[Sequence[Slice[WorkT]], int], tuple[NDArray[np.generic], ...]],
        trials: Sequence[tuple[Engine, Sequence[Feed]]],
        config: BatchConfig,
    ) -> Batcher[WorkT]:
        limit_s = config.inline_below_s / len(trials)

        def prepare(worker: int) -> None:
            for engine, feeds in trials:
                engine.prepare(feeds, worker)

        return Batcher(
            f"{self.info.name}/{self.info.version}/{graph}",
            run,
            config,
            inline_samples=min(engine.quick_samples(feeds[0], feeds[-1], limit_s) for engine, feeds in trials),
            lone_samples=_lone_samples([engine for engine, _ in trials]),
            prepare=prepare if any(engine.cuda_graphs for engine, _ in trials) else None,
        )

    def engines(self) -> list[Engine]:
        """Return the generator's engine and, if there are such, the critic's and the typicality's."""
        return self._engines.all()

    def full_call(self) -> tuple[Engine, Feed]:
        """Return the generator's engine and the inputs of a full batch, to measure it."""
        return self._generator, self._full_feed

    def describe(self) -> gan_service_pb2.GetModelResponse:
        """Return the manifest and how the graphs run, the generator first."""
        response = gan_service_pb2.GetModelResponse(spec=self.spec, package_sha256=self.digest)
        for engine in self.engines():
            response.engines.add(
                file=engine.file,
                providers=engine.providers,
                nodes_by_provider=engine.nodes_by_provider,
                max_batch_size=self.max_batch_size,
                batch_buckets=engine.config.buckets,
                instances=engine.instances,
                cuda_graphs=engine.cuda_graphs,
                tf32=engine.tf32,
                threads=engine.config.threads,
                lone_threads=0 if engine.lone_calls is None else engine.lone_calls.threads,
                lone_samples=0 if engine.lone_calls is None else engine.lone_calls.samples,
                bfloat16=engine.config.bfloat16,
            )
        return response

    def close(self) -> None:
        """Close the batchers; may block for one call."""
        self.generator.close()
        if self.critic is not None:
            self.critic.close()

    def _generate(self, slices: Sequence[Slice[GeneratorWork]], worker: int) -> tuple[NDArray[np.generic], ...]:
        """Return samples [N, ...], latents float32 [N, Z] and, for conditional models, labels int64 [N].

        If the work of a slice returns w's, they come last, float32 [N, L, W].
        """
        placed = _placed(slices)
        total = placed[-1][1].stop
        latents = self._latents(placed, total)
        if self.info.style is not None:
            return self._generate_styled(self.info.style, placed, latents, worker)
        if not self.info.label_names:
            return self._generator.run({"latents": latents}, worker)[0], latents
        labels = self._labels(placed, total)
        return self._generator.run({"latents": latents, "labels": labels}, worker)[0], latents, labels

    def _generate_styled(
        self,
        style: Style,
        placed: Sequence[tuple[Slice[GeneratorWork], slice]],
        latents: NDArray[np.float32],
        worker: int,
    ) -> tuple[NDArray[np.generic], ...]:
        works = [(part.work.style, rows, part.start) for part, rows in placed if part.work.style is not None]
        parts = {rows.start: part for part, rows in placed}
        feed = style_feed(style, latents, works, lambda rows: self._mixed_latents(parts[rows.start]))
        feed |= {"latents": latents}
        results: list[NDArray[np.generic]] = [latents]
        if self.info.label_names:
            feed["labels"] = self._labels(placed, len(latents))
            results.append(feed["labels"])
        samples, *w = self._generator.run(feed, worker, more=any(work.return_w for work, *_ in works))
        return samples, *results, *w

    def _mixed_latents(self, part: Slice[GeneratorWork]) -> NDArray[np.float32]:
        """Return the latents [N, Z] that a slice takes w's from."""
        work, style = part.work, part.work.style
        assert style is not None, "only a slice that mixes has such latents"
        if style.mix_latents is not None:
            return style.mix_latents[part.start : part.start + part.count]
        return mixed_latents(self.info, work, work.offset + part.start, part.count)

    def _latents(self, placed: Sequence[tuple[Slice[GeneratorWork], slice]], total: int) -> NDArray[np.float32]:
        """Draw the random words of each slice, then map all of them to latents at once."""
        drawn: list[NDArray[np.uint64]] = []
        truncations: NDArray[np.float64] | None = None
        dimension = self.info.latent_dimension
        for part, rows in placed:
            work = part.work
            if work.latents is not None:
                drawn.append(np.zeros((part.count, dimension), np.uint64))
                continue
            start = work.offset + part.start
            drawn.append(random_words(work.seed, Purpose.LATENTS, start, part.count, dimension))
            if work.truncation is not None:
                if truncations is None:
                    truncations = np.full(total, np.inf)
                truncations[rows] = work.truncation
        words = drawn[0] if len(drawn) == 1 else np.concatenate(drawn)
        latents = latents_from_words(words, self.info.distribution, truncations, self._controls)
        for part, rows in placed:
            work = part.work
            if work.latents is not None:
                latents[rows] = work.latents[part.start : part.start + part.count]
            for index, value in work.controls:
                latents[rows, index] = value
        return latents

    def _labels(
        self, placed: Sequence[tuple[Slice[GeneratorWork] | Slice[CriticWork], slice]], total: int
    ) -> NDArray[np.int64]:
        """Return the labels [N] of the slices; a generator's are drawn where the work has none."""
        labels = np.empty(total, np.int64)
        for part, rows in placed:
            work = part.work
            if isinstance(work.labels, int):
                labels[rows] = work.labels
            elif work.labels is not None:
                labels[rows] = work.labels[part.start : part.start + part.count]
            else:
                assert isinstance(work, GeneratorWork)
                words = random_words(work.seed, Purpose.LABELS, work.offset + part.start, part.count, 1)
                labels[rows] = labels_from_words(words[:, 0], len(self.info.label_names))
        return labels

    def _score(self, slices: Sequence[Slice[CriticWork]], worker: int) -> tuple[NDArray[np.generic], ...]:
        """Return scores, probabilities and typicality, each float32 [N]; no typicality if no slice needs it."""
        assert self._critic is not None
        parts = [part.work.samples[part.start : part.start + part.count] for part in slices]
        feed: dict[str, NDArray[np.generic]] = {"samples": parts[0] if len(parts) == 1 else np.concatenate(parts)}
        if self.info.critic_takes_labels:
            feed["labels"] = self._labels(_placed(slices), len(feed["samples"]))
        scores, probabilities = self._critic.run(feed, worker)
        if self._typicality is None or not any(part.work.typicality for part in slices):
            return scores, probabilities
        return scores, probabilities, self._typicality.run({"samples": feed["samples"]}, worker)[0]


def mixed_latents(info: ModelInfo, work: GeneratorWork, start: int, count: int) -> NDArray[np.float32]:
    """Return the latents float32 [N, Z] that samples `start` to `start + count` of a seed take w's from."""
    assert work.style is not None, "only a work that mixes has such latents"
    controls = tuple(info.controls.values())
    latents = draw_latents(
        work.style.mix_seed, start, count, info.latent_dimension, info.distribution, controls=controls
    )
    for index, value in work.controls:
        latents[:, index] = value
    return latents


def _lone_samples(engines: Sequence[Engine]) -> int:
    """Return the most samples of a call that runs alone on all cores: by the slowest graph, which comes first."""
    lone = engines[0].lone_calls
    return 0 if lone is None else lone.samples


def _placed(slices: Sequence[_SliceT]) -> list[tuple[_SliceT, slice]]:
    """Return each slice with its rows in the call."""
    if len(slices) == 1:
        return [(slices[0], slice(0, slices[0].count))]
    placed, at = [], 0
    for part in slices:
        placed.append((part, slice(at, at + part.count)))
        at += part.count
    return placed
