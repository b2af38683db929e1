"""Plan how to draw the samples of a picture again, from its mark or from what the caller knows."""

# N = samples, K = labels, Z = latent

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format

from ganserve._argument_checks import MAX_INDEX, check_integer
from ganserve._calls.arrays import to_tensor
from ganserve._calls.labels import LabelFields, label_fields
from ganserve._calls.requests import sample_request
from ganserve._errors import InvalidRequest
from ganserve._marks.mark import request_options
from ganserve.v1 import gan_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ganserve._marks.mark import Mark
    from ganserve._results.grid_picture import Grid
    from ganserve._results.marked_picture import MarkedPicture
    from ganserve._results.models import ModelInfo
    from ganserve._results.selection import Selection
    from ganserve._types import Label

_MOST_REQUEST_BYTES = 2**23  # of one answer's samples
_MOST_CALLS = 256
_MOST_DRAWS = 2**20  # proposals of a selection count: a stranger's mark makes the caller's server work
_MOST_TRIED, _MOST_LABELS, _MOST_INDICES = 1024, 64, 64  # where the caller knows neither index nor label
_LARGEST_GAP = 8  # between indices that are drawn together
_OTHERS = 8


class NotDrawableError(Exception):
    """The samples of a picture cannot be drawn again; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Facts about a picture that the caller gives; they count more than the mark."""

    model: str | None
    version: int | None
    seed: int | None
    index: int | None
    label: Label | None
    options: gan_service_pb2.SampleRequest
    """A request with the other options that the caller told."""

    @property
    def something(self) -> bool:
        """True if the caller told anything."""
        told = (self.model, self.version, self.seed, self.index, self.label)
        return any(each is not None for each in told) or bool(request_options(self.options))

    @classmethod
    def of(
        cls,
        *,
        model: str | None,
        version: int | None,
        seed: int | None,
        index: int | None,
        label: Label | None,
        truncation: float | None,
        controls: Mapping[str, float] | None,
        select: Selection | None,
    ) -> Told:
        """Check the arguments of `Client.verify`."""
        if index is not None:
            check_integer("index", index, 0, MAX_INDEX - 1)
        if seed is not None:
            check_integer("seed", seed, 0, 2**64 - 1)
        label_fields(label, 1)
        options = sample_request(
            1, model=model, version=version, truncation=truncation, controls=controls, select=select
        )
        return cls(model=model, version=version, seed=seed, index=index, label=label, options=options)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Redrawing:
    """The samples to draw for a picture."""

    requests: tuple[gan_service_pb2.SampleRequest, ...]
    """The requests, whose samples are joined."""
    places: npt.NDArray[np.intp] | None
    """The place of each of the picture's samples among those drawn, [N]; None: the nearest one is to be found, see
    `comparison.nearest`."""

    def __post_init__(self) -> None:
        draws = sum(each.count * max(1, each.selection.max_proposals_per_sample) for each in self.requests)
        if draws > _MOST_DRAWS:
            raise NotDrawableError(f"it would take {draws:,} draws; a picture may ask for at most {_MOST_DRAWS:,}")

    @property
    def tried(self) -> str:
        """Seeds and labels tried because the index was unknown, in words."""
        return f"samples {self.requests[0].offset} to {self.requests[0].offset + self.requests[0].count - 1}"


def plan(picture: MarkedPicture, told: Told, info: ModelInfo) -> Redrawing:
    """Return what to draw for the picture's samples; raise NotDrawableError if nothing says it."""
    base = _options(picture, told)
    base.model, base.version = info.name, info.version
    mark, grid = picture.mark, _grid_of(picture, told, info)
    labels = None if told.label is None else label_fields(told.label, 1)
    if mark is not None and (mark.latents or mark.w) and told.seed is None:
        return _given(mark, grid, base, info)
    seed = seed_of(picture, told)
    assert seed is not None
    base.seed = seed
    if grid is not None and picture.layout_lost:
        return _lost_layout(base, told.index or 0, grid.count, labels, info)
    if grid is not None and told.index is None and told.label is None:
        return _ranges(base, grid.indices, grid.labels, info)
    index = told.index
    if index is None and mark is not None and (told.seed is None or told.seed == mark.seed):
        index = mark.index
    label_known = labels is not None or not info.conditional
    if labels is None and mark is not None and mark.label_index is not None and index == mark.index:
        labels, label_known = label_fields(mark.label_index, 1), True
    if labels is not None:
        base.label_indices.extend(labels.indices)
        base.label_names.extend(labels.names)
    if index is not None and label_known:
        return Redrawing(requests=(_part(base, index, 1),), places=np.zeros(1, np.intp))
    return _search(base, index, info, label_known=label_known)


def seed_of(picture: MarkedPicture, told: Told) -> int | None:
    """Return the seed of a picture, None if its mark has latents; raise NotDrawableError if nothing says it."""
    mark, grid = picture.mark, picture.grid
    if told.seed is not None:
        return told.seed
    if mark is None and grid is None:
        raise NotDrawableError(
            "it has no mark of ganserve that can be read (many programs remove marks): give its model and seed"
        )
    if mark is not None and not mark.complete:
        raise NotDrawableError(
            "its mark has no room for all that it takes to draw it again, such as its latents or w's"
        )
    if mark is not None and mark.latents:
        return None
    seed = mark.seed if mark is not None else grid.seed if grid is not None else None
    if seed is None:
        raise NotDrawableError("its mark has no seed: give one")
    return seed


def others(redrawing: Redrawing) -> gan_service_pb2.SampleRequest | None:
    """Return the request for samples beside a single one, to compare distances with; None if it cannot be asked."""
    request = redrawing.requests[0]
    if request.HasField("latents") or request.HasField("w"):
        request = gan_service_pb2.SampleRequest(
            model=request.model, version=request.version, label_indices=request.label_indices[:1], seed=0
        )
        return _part(request, 0, _OTHERS)
    before = min(request.offset, _OTHERS)
    return _part(request, request.offset - before if before == _OTHERS else request.offset + 1, _OTHERS)


def _options(picture: MarkedPicture, told: Told) -> gan_service_pb2.SampleRequest:
    """Return a request with the options of the mark, and in their place those that the caller told."""
    mark = picture.mark
    request = gan_service_pb2.SampleRequest()
    if mark is not None and mark.options:
        try:
            fields: Any = json.loads(mark.options)
            json_format.ParseDict(fields, request)
        except (ValueError, TypeError, RecursionError, json_format.ParseError) as error:
            reason = str(error)[:200]
            raise NotDrawableError(f"its mark has options that this ganserve does not know ({reason})") from error
        if set(fields) - {field.name for field, _ in _only_options(request).ListFields()}:
            raise NotDrawableError("its mark has options that marks never have")
    for name in ("truncation", "selection"):
        if told.options.HasField(name):
            request.ClearField(name)
    request.MergeFrom(_only_options(told.options))
    return request


def _only_options(request: gan_service_pb2.SampleRequest) -> gan_service_pb2.SampleRequest:
    only = gan_service_pb2.SampleRequest()
    options = request_options(request)
    if options:
        json_format.Parse(options, only)
    return only


def _grid_of(picture: MarkedPicture, told: Told, info: ModelInfo) -> Grid | None:
    """Return the layout of a picture, None if its samples are not of the model's shape."""
    grid = picture.grid
    if grid is None or (grid.height, grid.width, grid.channels) != info.sample.shape:
        return None
    for name, given in (("index", told.index), ("label", told.label)):
        if given is not None and grid.count > 1 and not picture.layout_lost:
            raise InvalidRequest.of(name, f"is for a picture of one sample; this one has {grid.count}: leave it out")
    return grid


def _given(mark: Mark, grid: Grid | None, base: gan_service_pb2.SampleRequest, info: ModelInfo) -> Redrawing:
    """Draw samples of the latents or w's in a mark; w's with a seed have the noise of their indices."""
    count = 1 if grid is None else grid.count
    labels = None if grid is None else grid.labels
    if labels is None and mark.label_index is not None:
        labels = (mark.label_index,)
    latents = _values(mark.latents, "latents", (count, info.latent_dim), info) if mark.latents else None
    w = None
    if mark.w:
        style = info.style
        if style is None or not style.w_dimension:
            raise NotDrawableError(f"its mark has w's, and model {info.name!r} takes none")
        w = _values(mark.w, "w's", (count, style.layers, style.w_dimension), info)
    indices: Sequence[int] = range(count)
    if latents is None:
        if mark.seed is None or (grid is None and mark.index is None):
            raise NotDrawableError("its mark has w's, and neither seed and index nor latents for the noise")
        base.seed = mark.seed
        indices = (mark.index or 0,) if grid is None else grid.indices
    requests = []
    start = 0
    for end in range(1, count + 1):
        if end < count and indices[end] == indices[end - 1] + 1:
            continue
        request = _part(base, 0 if latents is not None else indices[start], end - start)
        for field, values in (("latents", latents), ("w", w)):
            if values is not None:
                getattr(request, field).CopyFrom(to_tensor(values[start:end]))
        request.label_indices.extend(() if labels is None else labels[start:end])
        requests.append(request)
        start = end
    if len(requests) > _MOST_CALLS:
        raise NotDrawableError("its samples lie too far apart in the seed's sequence to draw them again")
    return Redrawing(requests=tuple(requests), places=np.arange(count))


def _values(given: bytes, what: str, shape: tuple[int, ...], info: ModelInfo) -> npt.NDArray[np.float32]:
    """Return a mark's values in this shape."""
    if len(given) != 4 * int(np.prod(shape)):
        expected = " x ".join(map(str, shape))
        raise NotDrawableError(
            f"its mark has {len(given) // 4} values of {what}; expected {expected} for model {info.name!r}"
        )
    values = np.frombuffer(given, "<f4").reshape(shape)
    if not np.isfinite(values).all():
        raise NotDrawableError(f"its mark has {what} that are not finite")
    return values


def _ranges(
    base: gan_service_pb2.SampleRequest, indices: Sequence[int], labels: Sequence[int] | None, info: ModelInfo
) -> Redrawing:
    """Draw samples with these indices and labels: neighbours together, and what lies between them with them."""
    if not all(0 <= index < MAX_INDEX for index in indices):
        raise NotDrawableError("its layout has indices beyond those of a seed's sequence")
    wanted = list(zip(indices, labels or (0,) * len(indices), strict=True))
    most = max(1, _MOST_REQUEST_BYTES // max(1, int(np.prod(info.sample.shape))))
    requests: list[gan_service_pb2.SampleRequest] = []
    found: dict[tuple[int, int], int] = {}
    drawn = 0
    waiting = sorted(set(wanted))
    while waiting:
        start = waiting[0][0]
        run: dict[int, int] = {}
        rest = []
        last = start
        for index, label in waiting:
            if index not in run and index - last <= _LARGEST_GAP and index - start < most:
                run[index], last = label, index
            else:
                rest.append((index, label))
        request = _part(base, start, last - start + 1)
        if labels is not None:
            request.label_indices.extend(run.get(start + place, run[start]) for place in range(request.count))
        for index, label in run.items():
            found[index, label] = drawn + index - start
        requests.append(request)
        drawn += request.count
        waiting = rest
        if len(requests) > _MOST_CALLS:
            raise NotDrawableError("its samples lie too far apart in the seed's sequence to draw them again")
    return Redrawing(requests=tuple(requests), places=np.array([found[each] for each in wanted], np.intp))


def _lost_layout(
    base: gan_service_pb2.SampleRequest, start: int, count: int, labels: LabelFields | None, info: ModelInfo
) -> Redrawing:
    """Draw samples from an index on, with the labels of the seed and with each label, unless that is known."""
    if count * int(np.prod(info.sample.shape)) > _MOST_REQUEST_BYTES:
        raise NotDrawableError("it has no layout, and too many samples to find their labels")
    part = _part(base, start, count)
    if labels is not None:
        part.label_indices.extend(labels.indices)
        part.label_names.extend(labels.names)
        return Redrawing(requests=(part,), places=None)
    requests = [part]
    if info.conditional and count * len(info.label_names) <= _MOST_TRIED:
        requests += [_with_label(part, label) for label in range(len(info.label_names))]
    return Redrawing(requests=tuple(requests), places=None)


def _search(base: gan_service_pb2.SampleRequest, index: int | None, info: ModelInfo, *, label_known: bool) -> Redrawing:
    """Draw the first samples of the seed, or the one that is known, with each label unless that is known."""
    tries = 1 if label_known or len(info.label_names) > _MOST_LABELS else len(info.label_names)
    most = min(_MOST_INDICES, _MOST_TRIED // tries, 4 * _MOST_REQUEST_BYTES // int(np.prod(info.sample.shape)) // tries)
    start, count = (0, max(1, most)) if index is None else (index, 1)
    part = _part(base, start, count)
    if tries == 1:
        return Redrawing(requests=(part,), places=None)
    return Redrawing(requests=tuple(_with_label(part, label) for label in range(tries)), places=None)


def _with_label(part: gan_service_pb2.SampleRequest, label: int) -> gan_service_pb2.SampleRequest:
    request = gan_service_pb2.SampleRequest()
    request.CopyFrom(part)
    request.label_indices.append(label)
    return request


def _part(base: gan_service_pb2.SampleRequest, offset: int, count: int) -> gan_service_pb2.SampleRequest:
    request = gan_service_pb2.SampleRequest()
    request.CopyFrom(base)
    request.offset, request.count = offset, count
    return request
