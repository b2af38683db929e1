"""Verify a picture: draw its samples again, and compare."""

# N = samples of the picture, M = samples drawn, H = height, W = width, C = channels

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ganserve._calls import redrawing, unary_calls
from ganserve._calls.redrawing import NotDrawableError, Redrawing, Told
from ganserve._errors import GanserveError, InvalidRequest, ModelNotFound, UnsupportedByModel
from ganserve._results.comparison import ROUNDING_LEVELS, Distance, explained_by_format, is_copy, nearest
from ganserve._results.marked_picture import MarkedPicture
from ganserve._results.verdict import Likeness, PictureVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ganserve._results.batch import SampleBatch
    from ganserve._results.models import ModelInfo
    from ganserve._types import File

_MOST_SHIFTS = 9
REFUSALS = (InvalidRequest, UnsupportedByModel, ModelNotFound)
"""Errors that say that a server cannot draw what a mark asks for."""


class Verification:
    """The calls of `Client.verify`: for the model, for the samples, and for others to compare distances with."""

    def __init__(self, picture: File, told: Told, timeout_s: float) -> None:
        """Read the picture."""
        self._picture = MarkedPicture.read(picture)
        self._told = told
        self._timeout_s = timeout_s
        self._notes = list(self._picture.notes)
        self._info: ModelInfo | None = None
        self._plan: Redrawing | None = None
        self._given: npt.NDArray[np.uint8] | None = None
        self._drawn: npt.NDArray[np.uint8] | None = None
        self._batches: Sequence[SampleBatch] = ()

    @property
    def model(self) -> str | None:
        """The model to ask for; None: the client's. Raises NotDrawableError if nothing says what to draw."""
        redrawing.seed_of(self._picture, self._told)
        mark, grid = self._picture.mark, self._picture.grid
        if self._told.model is not None:
            return self._told.model
        return (mark.model if mark is not None else grid.model if grid is not None else None) or None

    @property
    def version(self) -> int | None:
        """The version to ask for; None: the latest, where nothing says it or the caller names another model."""
        mark, grid = self._picture.mark, self._picture.grid
        if self._told.version is not None:
            return self._told.version
        says, version = (
            (mark.model, mark.version) if mark is not None else (grid.model, grid.version) if grid else ("", 0)
        )
        return version or None if self.model == says else None

    def calls(self, info: ModelInfo) -> list[unary_calls.Call[SampleBatch]]:
        """Return the calls that draw the samples; raises NotDrawableError."""
        self._info = info
        if info.sample.kind != "image":
            raise NotDrawableError(f"model {info.name!r} makes no pictures but {info.sample}")
        if not self._picture.restore_grid(info.sample.shape):
            raise NotDrawableError(
                "it is a grid that has lost its layout and was changed since: verify the PNG as it was written"
            )
        self._notes = list(self._picture.notes)
        self._plan = redrawing.plan(self._picture, self._told, info)
        self._given, changes = self._picture.samples(info.sample.shape)
        self._notes += [f"the picture is {change}" for change in changes]
        return [unary_calls.sample(request, self._timeout_s, info) for request in self._plan.requests]

    def other_calls(self, batches: Sequence[SampleBatch]) -> list[unary_calls.Call[SampleBatch]]:
        """Take what was drawn, and return the calls for other samples, if distances matter."""
        assert self._plan is not None
        assert self._given is not None
        self._batches = batches
        self._drawn = np.concatenate([batch.images for batch in batches])
        if len(self._drawn) > 1 or (self._given[0] == self._drawn[0]).all():
            return []
        request = redrawing.others(self._plan)
        return [] if request is None else [unary_calls.sample(request, self._timeout_s, self._info)]

    def verdict(self, other_batches: Sequence[SampleBatch]) -> PictureVerdict:
        """Return the verdict on what was drawn."""
        assert self._plan is not None
        assert self._given is not None
        assert self._drawn is not None
        assert self._info is not None
        given, places = self._given, self._plan.places
        searched = places is None
        if places is None:
            places = nearest(given, self._drawn)
        drawn = self._drawn[places]
        distance = Distance.between(given, drawn)
        if len(given) > 1:
            others = [np.roll(drawn, shift, axis=0) for shift in range(1, min(_MOST_SHIFTS, len(given)))]
        elif other_batches:
            others = [image[None] for batch in other_batches for image in batch.images]
        else:
            others = list(np.delete(self._drawn, places, axis=0)[:, None])
        likeness = self._likeness(given, drawn, distance, others)
        indices = np.concatenate([batch.indices for batch in self._batches])[places]
        labels = None
        if all(batch.label_names is not None for batch in self._batches):
            names = [name for batch in self._batches for name in batch.label_names or ()]
            labels = tuple(names[place] for place in places)
        seed = self._plan.requests[0].seed if self._plan.requests[0].HasField("seed") else None
        package = self._package()
        reason = _reason(likeness, distance, len(given), self._info, seed, indices, searched=searched)
        if likeness == "different" and searched:
            reason += f" (tried {self._plan.tried} of the seed{'' if labels is None else ', with each label'})"
        if likeness == "different" and package == "replaced":
            likeness = "unknown"
            reason = "the server has another package under this name and version, which does not draw this picture"
        return self._result(
            likeness,
            reason,
            package=package,
            model=self._info.name,
            version=self._info.version,
            seed=seed,
            indices=tuple(indices.tolist()),
            labels=labels,
            exact_samples=distance.exact,
            largest_difference=distance.largest,
            mean_difference=distance.mean,
        )

    def undrawn(self, error: Exception) -> PictureVerdict:
        """Return the verdict on a picture that cannot be drawn again; raise the error if the caller told it wrong."""
        if isinstance(error, GanserveError) and self._told.something:
            raise error
        reason = error.message if isinstance(error, GanserveError) else str(error)
        return self._result("unknown", f"cannot be drawn again: {reason}", package=self._package())

    def _likeness(
        self,
        given: npt.NDArray[np.uint8],
        drawn: npt.NDArray[np.uint8],
        distance: Distance,
        others: Sequence[npt.NDArray[np.uint8]],
    ) -> Likeness:
        if distance.exact == len(given):
            return "exact"
        if distance.largest <= ROUNDING_LEVELS or (
            len(given) == 1 and explained_by_format(given[0], drawn[0], self._picture.image)
        ):
            return "near"
        return "changed" if is_copy(given, drawn, others) else "different"

    def _package(self) -> Literal["same", "replaced", "unknown"]:
        mark, info = self._picture.mark, self._info
        if mark is None or info is None or not mark.package_sha256 or not info.package_sha256:
            return "unknown"
        if (mark.model, mark.version) != (info.name, info.version):
            return "unknown"
        return "same" if mark.package_sha256 == info.package_sha256 else "replaced"

    def _result(self, likeness: Likeness, reason: str, **facts: Any) -> PictureVerdict:
        nothing: dict[str, Any] = {
            "model": "",
            "version": 0,
            "seed": None,
            "indices": (),
            "labels": None,
            "exact_samples": 0,
            "largest_difference": None,
            "mean_difference": None,
        }
        picture, notes = self._picture, list(self._notes)
        if facts["package"] == "replaced":
            notes.append("the server's package of this name and version is not the one that the mark names")
        if picture.mark is None and picture.grid is not None and not picture.layout_lost:
            notes.append("the picture has a layout but no mark: truncation, controls and selection are unknown")
        return PictureVerdict(
            likeness=likeness,
            reason=reason,
            mark=picture.mark,
            source_type=picture.source_type,
            manifest=picture.manifest,
            notes=tuple(notes),
            **(nothing | facts),
        )


def _reason(
    likeness: Likeness,
    distance: Distance,
    count: int,
    info: ModelInfo,
    seed: int | None,
    indices: npt.NDArray[np.int64],
    *,
    searched: bool,
) -> str:
    which = "given latents"
    if seed is not None:
        first, last = int(indices.min()), int(indices.max())
        which = f"seed {seed}, sample{f' {first}' if first == last else f's {first} to {last}'}"
    samples = "the sample" if count == 1 else f"the {count} samples"
    what = f"{samples} of {info.name} version {info.version}, {which}"
    far = f"it differs by {distance.mean:.2f} levels of 255 on average, {distance.largest} at most"
    if count > 1:
        far += f", and {distance.exact} of {count} samples are equal"
    if likeness == "exact":
        return f"bit for bit {what}"
    if likeness == "near":
        return f"{what}, as near as its format allows: {far}"
    if likeness == "changed":
        return f"a changed copy of {what}: {far}"
    return f"not {what}{', which is the nearest' if searched else ''}: {far}"
