"""Choose batch sizes for a model, and draw the inputs of its trial. N = samples, Z = values of one latent."""

from dataclasses import replace

import numpy as np

from ganserve_server.engine.parallelism import choose_buckets
from ganserve_server.engine.sessions import EngineConfig, Feed
from ganserve_server.models.latents import draw_latents
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.style_inputs import style_feed
from ganserve_server.queue.options import BatchConfig


def fitted(info: ModelInfo, engine: EngineConfig, batch: BatchConfig) -> tuple[EngineConfig, BatchConfig]:
    """Return the configurations with the batch sizes for a model, which depend on the size of its samples."""
    batch = batch.for_samples_of(info.sample_bytes)
    if engine.buckets:
        engine = replace(engine, buckets=choose_buckets(engine.provider, engine.buckets, batch.max_batch_size))
    return engine, batch


def trial_feeds(info: ModelInfo, engine: EngineConfig, batch: BatchConfig) -> list[Feed]:
    """Return the generator's inputs for each batch size that the fitted configurations name, ascending."""
    return [_feed(info, size) for size in sorted({1, batch.max_batch_size, *engine.buckets})]


def _feed(info: ModelInfo, count: int) -> Feed:
    controls = tuple(info.controls.values())
    latents = draw_latents(0, 0, count, info.latent_dimension, info.distribution, controls=controls)
    feed: Feed = {"latents": latents}
    if info.style is not None:
        feed |= style_feed(info.style, latents)
    if info.label_names:
        # The last label comes first, so that every batch contains it: a graph with fewer labels fails here.
        feed["labels"] = np.arange(-1, -1 - count, -1, dtype=np.int64) % len(info.label_names)
    return feed
