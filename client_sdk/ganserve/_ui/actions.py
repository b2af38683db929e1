"""Do what a visitor of the page asks for: plain functions on the SDK."""

# N = samples, H = height, W = width, C = channels, K = labels

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ganserve import (
    BestOf,
    Client,
    InvalidRequest,
    ModelInfo,
    Rejection,
    SampleBatch,
    Scores,
    Selection,
    UnsupportedByModel,
)
from ganserve._results.input_source import NeedsFittingError
from ganserve._results.picture_file import PictureFile
from ganserve._types import Noise

Choosing: TypeAlias = Literal["none", "best of N", "rejection"]
"""The critic's rule to choose among more samples than the page shows."""

NumberT = TypeVar("NumberT", int, float)

ANY_LABEL = -1
MOST_SAMPLES = 256
MOST_PIXELS = 2**22  # of all samples together; a browser shows about that many without a pause
MOST_LABELS_TRIED = 256
FIT = "Cut and resize it to fit"
"""The option that lets a picture of another size or other colours be scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A version of a model that answers requests."""

    name: str
    """Name of the model."""
    version: int
    """The version."""
    latest: bool
    """True if it is the model's default version."""

    @property
    def key(self) -> str:
        """Its key on the page."""
        return f"{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.name if self.latest else f"{self.name} · version {self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """The samples that a visitor asks for, as in the form."""

    label: int = ANY_LABEL
    """A label's index; with ANY_LABEL the server draws it."""
    count: int
    """Number of samples."""
    seed: str = ""
    """The seed as typed; empty: a random one."""
    truncation: str = ""
    """The truncation as typed; empty: none."""
    choosing: Choosing = "none"
    """The critic's rule."""
    proposals: int = 8
    """Samples from which it chooses each."""
    noise: Noise | Literal[""] = ""
    """The noise of a style-based generator; empty: the model's own."""
    mix_seed: str = ""
    """The seed of the samples to mix with, as typed; empty: no mixing."""
    mix_from: int = 1
    """The first layer of the mixed samples."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples and how long they took."""

    batch: SampleBatch
    took_ms: float
    """Milliseconds from the request to the answer."""
    within_labels: bool = False
    """True if scores compare only within a label, because the critic takes labels."""
    wish: Wish | None = None
    """The request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Pictures and their scores."""

    images: npt.NDArray[np.uint8]
    """The scored images, uint8 [N, H, W, C]; N = 1 if one picture was scored under each label."""
    scores: Scores
    """A score for each picture, or for each label."""
    each_label: bool
    """True if one picture was scored under each label."""
    fitted: bool
    """True if the picture was resized to fit the model."""
    took_ms: float
    """Milliseconds from the request to the answer."""


def served_models(client: Client) -> list[ServedModel]:
    """Return the ready versions of models: by name, and the default version first."""
    return [
        ServedModel(name=model.name, version=version.version, latest=version.version == model.latest)
        for model in client.models()
        for version in sorted(model.versions, key=lambda each: (each.version != model.latest, -each.version))
        if version.state == "ready"
    ]


def describe(client: Client, key: str) -> ModelInfo:
    """Return the model of a `ServedModel.key`."""
    name, _, version = key.rpartition("/")
    return client.model(name, int(version))


def most_samples(info: ModelInfo) -> int:
    """Return the most samples of a model that the page shows: fewer for large pictures."""
    if info.sample.kind != "image":
        return MOST_SAMPLES
    height, width = info.sample.shape[:2]
    return max(1, min(MOST_SAMPLES, MOST_PIXELS // (height * width)))


def draw(client: Client, info: ModelInfo, wish: Wish) -> Drawn:
    """Draw the samples of a wish, with their scores if the model has a critic."""
    seed, truncation = parse_seed(wish.seed), parse_truncation(wish.truncation)
    select = selection(wish.choosing, wish.proposals)
    mix_seed = parse_seed(wish.mix_seed, "mix with seed", "no mixing")
    with _clock() as took:
        batch = client.sample(
            wish.count,
            None if wish.label == ANY_LABEL or not info.conditional else wish.label,
            model=info.name,
            version=info.version,
            seed=seed,
            truncation=truncation,
            mix_seed=mix_seed,
            mix_from=None if mix_seed is None else wish.mix_from,
            noise=wish.noise or None,
            select=select,
            return_scores=info.critic is not None,
            return_latents=True,
            return_w=info.style is not None and info.style.w_dimension > 0,
            priority="high",
        )
    return Drawn(batch, took.ms, info.critic_takes_labels, wish)


def walk(client: Client, info: ModelInfo, drawn: Drawn, ends: tuple[int, int], steps: int) -> Drawn:
    """Interpolate between two samples that `info`'s model drew, given by their positions.

    The ends count among the steps. If the ends' labels differ, the label changes half way.
    """
    batch, wish = drawn.batch, drawn.wish
    if (batch.model, batch.version) != (info.name, info.version):
        raise UnsupportedByModel(
            f"the samples are of {batch.model} version {batch.version}, but the model is now {info.name} version "
            f"{info.version}: draw some of it first"
        )
    for name, end in zip(("from", "to"), ends, strict=True):
        if not 0 <= end < len(batch):
            raise InvalidRequest.of(name, f"is sample {end}; expected one of those drawn, 0 to {len(batch) - 1}")
    if batch.latents is None:
        raise UnsupportedByModel("the samples came without their latents: draw them again")
    a, b = ends
    label = None
    if batch.labels is not None:
        label = [int(batch.labels[a if 2 * step < steps else b]) for step in range(steps)]
    # A walk between w's has their truncation; one between latents, only if a mapping follows.
    psi = wish is not None and batch.w is None and info.style is not None
    with _clock() as took:
        way = client.interpolate(
            batch[a],
            batch[b],
            steps,
            label,
            truncation=parse_truncation(wish.truncation) if wish is not None and psi else None,
            noise=(wish.noise or None) if wish is not None else None,
            model=info.name,
            version=info.version,
            return_scores=info.critic is not None,
            priority="high",
        )
    return Drawn(way, took.ms)


def score(client: Client, info: ModelInfo, file: str | os.PathLike[str], label: int, *, fit: bool) -> Scored:
    """Score the pictures of a file, of which `fit` cuts and resizes those of another size.

    A grid that ganserve wrote is cut into its samples, which have labels. Any other picture is one sample; if the
    critic needs a label and none is given, it is scored under each label.
    """
    if info.critic is None:
        reason = f" ({info.critic_absence})" if info.critic_absence else ""
        raise UnsupportedByModel(f"model {info.name!r} has no critic{reason}: it cannot score")
    if info.sample.kind != "image":
        raise UnsupportedByModel(f"model {info.name!r} makes no images, so its critic takes no pictures")
    picture = PictureFile.read(file)
    try:
        images, fitted = picture.samples(info.sample.shape, fit=fit)
    except NeedsFittingError as error:
        (violation,) = error.violations
        raise InvalidRequest.of("picture", f"{violation.description}; tick {FIT!r}") from error
    labels, each_label = _labels_to_score(info, label, picture.labels, len(images))
    given = images.repeat(len(labels), axis=0) if each_label and labels is not None else images
    with _clock() as took:
        scores = client.score(given, labels, model=info.name, version=info.version, priority="high")
    return Scored(images=images, scores=scores, each_label=each_label, fitted=fitted, took_ms=took.ms)


def style_wish(info: ModelInfo, psi: float, noise: str | None, mix_seed: str, mix_from: int) -> dict[str, Any]:
    """Return the fields of a `Wish` for the values of the `StyleForm`; none for a model without a mapping."""
    if info.style is None:
        return {}
    return {"truncation": str(psi), "noise": noise or "", "mix_seed": mix_seed, "mix_from": int(mix_from)}


def first_values(info: ModelInfo) -> tuple[float, str | None, str, int]:
    """Return the values of the `StyleForm` for a model that was just chosen."""
    if info.style is None:
        return 1.0, None, "", 1
    return info.style.default_truncation, None, "", 1


def parse_seed(text: str, field: str = "seed", nothing: str = "a random one") -> int | None:
    """Return the typed seed, or None for an empty text; the SDK checks its range."""
    return _parsed(field, text.strip(), int, f"a whole number from 0 to {2**64 - 1}, or nothing for {nothing}")


def parse_truncation(text: str) -> float | None:
    """Return the typed truncation, or None for an empty text; the SDK checks its range."""
    return _parsed("truncation", text.strip().replace(",", "."), float, "a number above 0, or nothing for none")


def _parsed(field: str, text: str, kind: Callable[[str], NumberT], expected: str) -> NumberT | None:
    try:
        return kind(text) if text else None
    except ValueError:
        raise InvalidRequest.of(field, f"is {text!r}; expected {expected}") from None


def selection(choosing: Choosing, proposals: int) -> Selection | None:
    """Return the SDK's selection for the form's."""
    if choosing == "best of N":
        return BestOf(proposals)
    return Rejection(max_proposals=proposals) if choosing == "rejection" else None


def order(drawn: Drawn, by: Literal["as drawn", "best first", "worst first"]) -> list[int]:
    """Return the positions of samples in the order to show them; equal scores stay as drawn.

    If scores compare only within a label, the samples are sorted by label first.
    """
    batch = drawn.batch
    if by == "as drawn" or batch.scores is None:
        return list(range(len(batch)))
    keys = -batch.scores if by == "best first" else batch.scores
    group = batch.labels if drawn.within_labels and batch.labels is not None else np.zeros(len(batch))
    return [int(i) for i in np.lexsort((keys, group))]


def _labels_to_score(
    info: ModelInfo, label: int, carried: Sequence[str] | None, count: int
) -> tuple[list[str] | None, bool]:
    """Return the labels for `count` pictures, and whether these are all labels for one picture."""
    names = info.label_names
    if not info.critic_takes_labels or not names:
        return None, False
    if label != ANY_LABEL:
        return [names[label]] * count, False
    if carried is not None:
        return list(carried), False
    if count * len(names) > MOST_LABELS_TRIED:
        raise InvalidRequest.of("label", f"is missing, and all {len(names)} are too many to try: choose one")
    return list(names), True


class _Took:
    """The milliseconds that a block took."""

    ms = 0.0


@contextmanager
def _clock() -> Iterator[_Took]:
    took, started = _Took(), time.perf_counter()
    yield took
    took.ms = 1000 * (time.perf_counter() - started)
