"""Compute the rules of selection sample by sample, without groups, rounds or batches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve.v1 import gan_service_pb2, model_spec_pb2
from ganserve_server.models.latents import Control, Distribution, Purpose, draw_labels, draw_latents, random_words
from ganserve_server.sampling.rejection_sampling import CALIBRATION_SAMPLES, CALIBRATION_SEED
from stubs import to_array
from tiny_packages import (
    CODES,
    CONDITIONAL,
    SCORE_SLOPE,
    UNCONDITIONAL,
    VECTOR,
    TinyModel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ganserve_server.service import GanService


BEST, REJECTION = gan_service_pb2.SELECTION_METHOD_BEST_OF_N, gan_service_pb2.SELECTION_METHOD_REJECTION


MODELS = {"tiny": CONDITIONAL, "tiny-codes": CODES, "tiny-unconditional": UNCONDITIONAL, "tiny-vector": VECTOR}


def request(method: int, most: int, count: int, **fields: object) -> gan_service_pb2.SampleRequest:
    chosen = gan_service_pb2.Selection(method=method, max_proposals_per_sample=most)
    fields = {"model": "tiny", "seed": 11, "count": count, "selection": chosen} | fields
    return gan_service_pb2.SampleRequest(**fields)


def sample(gan: GanService, message: gan_service_pb2.SampleRequest) -> gan_service_pb2.SampleResponse:
    return asyncio.run(gan.sample(message))


@dataclass(frozen=True)
class Chosen:
    proposal: int
    proposed: int
    accepted: bool
    latent: np.ndarray
    sample: np.ndarray
    score: float


class Rules:
    """Apply the rules to one model, one sample at a time."""

    def __init__(self, model: TinyModel) -> None:
        self.model = model
        self.labels = len(model.label_names)
        self.odds_slope = SCORE_SLOPE

    def latents(self, seed: int, start: int, count: int, truncation: float | None) -> np.ndarray:
        normal = self.model.distribution == model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
        distribution = Distribution.NORMAL if normal else Distribution.UNIFORM
        first = self.model.latent_dimension - len(self.model.controls)
        controls = [Control(name, first + i, -1.0, 1.0) for i, name in enumerate(self.model.controls)]
        return draw_latents(seed, start, count, self.model.latent_dimension, distribution, truncation, controls)

    @functools.cached_property
    def constants(self) -> tuple[float, float]:
        """Return d_M and gamma by the paper's formula."""
        labels = draw_labels(CALIBRATION_SEED, 0, CALIBRATION_SAMPLES, self.labels) if self.labels else None
        samples = self.model.samples(self.latents(CALIBRATION_SEED, 0, CALIBRATION_SAMPLES, None), labels)
        d = self.odds_slope * self.model.scores(samples, labels).astype(np.float64)
        d_m = round(d.max() * 1024) / 1024
        return d_m, round(np.percentile(shifted(d, d_m), 80) * 1024) / 1024

    def choose(
        self,
        method: int,
        most: int,
        index: int,
        *,
        seed: int = 11,
        label: int | None = None,
        truncation: float | None = None,
        control: float | None = None,
    ) -> Chosen:
        if self.labels and label is None:
            label = int(draw_labels(seed, index, 1, self.labels)[0])
        latents = self.latents(seed, index * most, most, truncation)
        if control is not None:
            latents[:, -1] = control
        labels = None if label is None else np.full(most, label)
        samples = self.model.samples(latents, labels)
        scores = self.model.scores(samples, labels)
        if method == BEST:
            proposal, proposed, accepted = int(np.argmax(scores)), most, True
        else:
            proposal, proposed, accepted = self.reject(seed, index, most, scores)
        return Chosen(proposal, proposed, accepted, latents[proposal], samples[proposal], float(scores[proposal]))

    def reject(self, seed: int, index: int, most: int, scores: np.ndarray) -> tuple[int, int, bool]:
        d_m, gamma = self.constants
        d = self.odds_slope * scores.astype(np.float64)
        chance = 1 / (1 + np.exp(-(shifted(d, d_m) - gamma)))
        words = random_words(seed, Purpose.ACCEPTANCE, index * most, most, 1)[:, 0]
        uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2**52
        accepted = np.flatnonzero(uniform < chance)
        if len(accepted):
            first = int(accepted[0])
            return first, min(most, (first // 4 + 1) * 4), True
        return int(np.argmax(d)), most, False


def shifted(d: np.ndarray, d_m: float) -> np.ndarray:
    below = np.minimum(d - d_m, 0)
    return below - np.log(1 - np.exp(below - 1e-14))


RULES = {name: Rules(model) for name, model in MODELS.items()}


def check(
    response: gan_service_pb2.SampleResponse,
    name: str,
    method: int,
    most: int,
    offset: int,
    *,
    labels: list[int | None] | None = None,
    **how: Any,
) -> list[Chosen]:
    samples = to_array(response.samples.tensor)
    expected = [
        RULES[name].choose(method, most, offset + row, label=labels[row] if labels else None, **how)
        for row in range(len(samples))
    ]
    np.testing.assert_array_equal(samples, np.stack([one.sample for one in expected]))
    if response.scores:
        np.testing.assert_array_equal(np.float32(response.scores), np.float32([one.score for one in expected]))
        model = MODELS[name]
        np.testing.assert_allclose(response.probabilities, model.probabilities(np.float32(response.scores)), atol=1e-6)
    if response.HasField("latents"):
        np.testing.assert_array_equal(to_array(response.latents), np.stack([one.latent for one in expected]))
    assert response.selection.proposed == sum(one.proposed for one in expected)
    assert response.selection.accepted == sum(one.accepted for one in expected)
    return expected


@contextlib.contextmanager
def stalled(gan: GanService, name: str = "tiny") -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold each call of a model's generator; yield an event that releases it, and one that is set while it waits."""
    release, running = threading.Event(), threading.Event()
    engine = gan.repository.resolve(name, 0)._generator
    run = engine.run

    def wait(feed: dict[str, np.ndarray], worker: int = 0) -> list[np.ndarray]:
        running.set()
        assert release.wait(60)
        return run(feed, worker)

    engine.run = wait
    try:
        yield release, running
    finally:
        release.set()
        engine.run = run


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
