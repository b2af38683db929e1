"""Try out the graphs of a package before they serve: every batch size, finite values, independence of the batch.

N = samples, Z = values of one latent.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import model_spec_pb2
from ganserve_server.engine.engine import Engine
from ganserve_server.engine.sessions import Feed
from ganserve_server.errors import PackageError
from ganserve_server.models.manifest_checks import ModelInfo

# Allowed difference between a sample alone and in a batch, where providers compute differently: one of 255 levels, 1 %.
_ALIKE_LEVELS, _ALIKE = 1, 0.01
_SATURATED, _ODDS_ALIKE = 1e-5, 0.1
# And by another engine than export's: the largest difference, and in bfloat16 the mean one.
_ENGINES_ALIKE, _BFLOAT16_ALIKE = 0.01, 0.02
_RANKS_ALIKE = 0.1  # among few held-out samples, one place is up to 5 %


def try_generator(engine: Engine, info: ModelInfo, feeds: Sequence[Feed]) -> list[Feed]:
    """Run the generator with batches of ascending sizes on every session, and return inputs for the critic.

    The first sample must be the same alone and in a full batch. Otherwise the network mixes its batch (batch or
    minibatch statistics), and a request's result would depend on the other requests. The w's of a style-based generator
    must give the same sample again. Raises PackageError if a run fails or a sample differs.
    """
    drawn = engine.warm_up(feeds)
    _compare("samples", drawn[0][0], drawn[-1][0])
    if info.style is not None and info.style.w_dimension:
        _try_given_w(engine, feeds[0], *drawn[0])
    return [
        {"samples": samples} | ({"labels": feed["labels"]} if info.critic_takes_labels else {})
        for (samples, *_), feed in zip(drawn, feeds, strict=True)
    ]


def _try_given_w(engine: Engine, feed: Feed, samples: NDArray[np.generic], w: NDArray[np.generic]) -> None:
    """Check that w's give their sample again, whatever the truncation, and come back as they are."""
    again, same = engine.warm_up([feed | {"w": w, "w_given": np.ones_like(feed["w_given"]), "psi": 0 * feed["psi"]}])[0]
    if _difference(samples, again) > _most(samples) or not np.array_equal(w, same):
        raise PackageError(
            f"{engine.file}: the w's of a sample, given back with w_given 1, give another sample or other w's: the "
            "graph must use given w's as they are; export again"
        )


def try_critic(engine: Engine, spec: model_spec_pb2.ModelSpec, feeds: Sequence[Feed]) -> None:
    """Run the critic as `try_generator` runs the generator, and compare its odds with the manifest's calibration."""
    judged = engine.warm_up(feeds)
    for _, probabilities in judged:
        if probabilities.min() < 0 or probabilities.max() > 1:
            raise PackageError(f"{engine.file}: a trial run gave probabilities outside 0 to 1")
    _compare("scores", judged[0][0], judged[-1][0])
    _compare("probabilities", judged[0][1], judged[-1][1])
    scores, probabilities = judged[-1]
    if spec.score.HasField("calibration"):
        _check_calibration(spec, scores, probabilities, feeds[-1].get("labels"))


def try_typicality(engine: Engine, critic_feeds: Sequence[Feed]) -> list[Feed]:
    """Run the graph of typicality as `try_generator` runs the generator; return its inputs, made of the critic's."""
    feeds: list[Feed] = [{"samples": feed["samples"]} for feed in critic_feeds]
    ranked = engine.warm_up(feeds)
    for (typicality,) in ranked:
        if typicality.min() < 0 or typicality.max() > 1:
            raise PackageError(f"{engine.file}: a trial run gave typicality outside 0 to 1")
    alone, in_batch = (float(typicality.astype(np.float64)[0]) for (typicality,) in (ranked[0], ranked[-1]))
    difference = abs(alone - in_batch)
    if difference > _RANKS_ALIKE:
        raise PackageError(
            f"{engine.file}: the typicality of a sample differs by {difference:g} alone and in a batch: export again"
        )
    return feeds


def compare_engines(engine: Engine, reference: Engine, feed: Feed) -> None:
    """Compare an engine's outputs with those of onnxruntime on the CPU, which export compared with PyTorch.

    Raises PackageError if samples differ by more than one of 255 levels or 1 % of the largest value; or, in bfloat16,
    by more than two levels or 2 % on average.
    """
    bfloat16 = engine.config.bfloat16
    for ours, wanted in zip(engine.run(feed), reference.run(feed), strict=True):
        differences = np.abs(ours.astype(np.float64) - wanted.astype(np.float64))
        difference = float(differences.mean() if bfloat16 else differences.max())
        relative = (_BFLOAT16_ALIKE if bfloat16 else _ENGINES_ALIKE) * max(1.0, float(np.abs(wanted).max()))
        if difference > ((2 if bfloat16 else 1) * _ALIKE_LEVELS if wanted.dtype == np.uint8 else relative):
            raise PackageError(
                f"{engine.file}: {engine.providers[0]} computes it with results that differ from onnxruntime's by "
                f"{difference:.3g}{' on average' * bfloat16}: serve it with "
                f"{'--no-bfloat16 or ' * bfloat16}--provider cpu"
            )


def _compare(name: str, alone: NDArray[np.generic], in_batch: NDArray[np.generic]) -> None:
    difference = _difference(alone, in_batch[:1])
    if difference > _most(alone):
        raise PackageError(
            f"the {name} of a latent differ by {difference:g} alone and in a batch of {len(in_batch)}: "
            "the network mixes its samples; freeze such statistics and export again"
        )


def _difference(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _most(alone: NDArray[np.generic]) -> float:
    """Return the allowed difference from a result."""
    return _ALIKE_LEVELS if alone.dtype == np.uint8 else _ALIKE * max(1.0, float(np.abs(alone).max()))


def _check_calibration(
    spec: model_spec_pb2.ModelSpec,
    scores: NDArray[np.generic],
    probabilities: NDArray[np.generic],
    labels: NDArray[np.generic] | None,
) -> None:
    """Check that the manifest's calibration, which rejection sampling uses, is the one in the graph."""
    calibration = spec.score.calibration
    intercepts = np.array(calibration.intercepts, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        odds = calibration.slope * scores.astype(np.float64) + intercepts[0 if labels is None else labels]
    # Beyond these bounds, float32 probabilities are too coarse to give their odds.
    bound = float(_logit(np.array(1 - _SATURATED)))
    given = np.clip(_logit(probabilities.astype(np.float64)), -bound, bound)
    difference = np.abs(np.clip(odds, -bound, bound) - given).max()
    if not (np.isfinite(odds).all() and difference <= _ODDS_ALIKE):
        raise PackageError(
            f"score.calibration gives log-odds that differ by {difference:g} from those of the probabilities of "
            f"{spec.critic.file}: export again"
        )


def _logit(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not scipy's, which takes as long to import as everything else that a trial needs.
    with np.errstate(divide="ignore"):
        return np.log(probabilities) - np.log1p(-probabilities)
