"""Make the engines of a package, check them against its manifest, and try them.

N = samples, Z = values of one latent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ganserve_server.engine.engine import Engine, TensorSpec
from ganserve_server.engine.providers import CPU
from ganserve_server.engine.sessions import EngineConfig, Feed
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.package_files import Package
from ganserve_server.models.style_inputs import style_tensors, w_tensors
from ganserve_server.models.trial import compare_engines, try_critic, try_generator, try_typicality

_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engines:
    """The engines of a package, which have run the trial."""

    generator: Engine
    critic: Engine | None
    typicality: Engine | None
    critic_feeds: list[Feed]
    """Inputs of the critic's trial."""
    typicality_feeds: list[Feed]
    """Inputs of the typicality's trial."""

    def all(self) -> list[Engine]:
        """Return the generator's engine and, if there are such, the critic's and the typicality's."""
        return [engine for engine in (self.generator, self.critic, self.typicality) if engine is not None]


def make_engines(package: Package, config: EngineConfig, feeds: Sequence[Feed]) -> Engines:
    """Make the sessions, check their inputs and outputs, and run them with the generator's `feeds`; takes seconds.

    `feeds` are batches of ascending sizes. Raises PackageError if a graph contradicts the manifest or a run fails, and
    ProviderError.
    """
    spec, info = package.spec, package.info
    latents, labels, samples, scores = _tensor_specs(info)
    styles = [] if info.style is None else style_tensors(info.style, info.latent_dimension)
    inputs, rarely = [latents, *labels, *styles], w_tensors(info.style)
    generator = Engine(spec.generator.file, package.generator, config, inputs, [samples], rarely)
    exact = replace(config, bfloat16=False)  # the calibration and the ranks are those of float32
    critic = typicality = None
    if package.critic is not None:
        critic_inputs = [samples, *labels] if info.critic_takes_labels else [samples]
        critic = Engine(spec.critic.file, package.critic, exact, critic_inputs, scores)
    if package.typicality is not None:
        ranks = TensorSpec(name="typicality", dtype=_FLOAT32)
        typicality = Engine(spec.typicality.graph.file, package.typicality, exact, [samples], [ranks])
    critic_feeds = try_generator(generator, info, feeds)
    if critic is not None:
        try_critic(critic, spec, critic_feeds)
    typicality_feeds = [] if typicality is None else try_typicality(typicality, critic_feeds)
    generator.measure_lone_calls(package.generator, feeds[-1])
    if critic is not None and package.critic is not None:
        critic.measure_lone_calls(package.critic, critic_feeds[-1])
    if typicality is not None and package.typicality is not None:
        typicality.measure_lone_calls(package.typicality, typicality_feeds[-1])
    return Engines(
        generator=generator,
        critic=critic,
        typicality=typicality,
        critic_feeds=critic_feeds,
        typicality_feeds=typicality_feeds,
    )


def check_agreement(package: Package, config: EngineConfig, engines: Engines, feeds: Sequence[Feed]) -> None:
    """Compare engines of another kind with onnxruntime's on the CPU; raise PackageError if they differ."""
    reference = make_engines(package, replace(config, provider=CPU, bfloat16=False), feeds)
    compare_engines(engines.generator, reference.generator, feeds[-1])
    for ours, theirs, tried in (
        (engines.critic, reference.critic, reference.critic_feeds),
        (engines.typicality, reference.typicality, reference.typicality_feeds),
    ):
        if ours is not None and theirs is not None:
            compare_engines(ours, theirs, tried[-1])


def _tensor_specs(info: ModelInfo) -> tuple[TensorSpec, list[TensorSpec], TensorSpec, list[TensorSpec]]:
    """Return latents, labels (none if unconditional), samples, and scores and probabilities."""
    labels = [TensorSpec(name="labels", dtype=_INT64)] if info.label_names else []
    return (
        TensorSpec(name="latents", dtype=_FLOAT32, sample_shape=(info.latent_dimension,)),
        labels,
        TensorSpec(name="samples", dtype=info.sample_dtype, sample_shape=info.sample_shape),
        [TensorSpec(name=name, dtype=_FLOAT32) for name in ("scores", "probabilities")],
    )
