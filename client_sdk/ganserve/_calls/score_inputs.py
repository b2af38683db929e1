"""Read what callers want scored (arrays, pictures, paths, grids, samples) and join it into one batch."""

# N = samples, H = height, W = width, C = channels, D = values of a vector

from __future__ import annotations

import io
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ganserve._argument_checks import check_flag, kind_of
from ganserve._calls.arrays import as_array
from ganserve._calls.labels import LabelFields, label_fields
from ganserve._errors import InvalidRequest
from ganserve._results.batch import SampleBatch
from ganserve._results.conversions import as_images
from ganserve._results.input_source import NeedsFittingError, Source
from ganserve._results.picture_file import resized, without_inks
from ganserve._results.picture_reading import ENDINGS, fit_channels, open_picture, read_pixels
from ganserve._results.sample import Sample
from ganserve._results.tables import SUFFIXES, read_samples

if TYPE_CHECKING:
    import numpy.typing as npt

    from ganserve._results.models import ModelInfo
    from ganserve._types import ImagesLike, Labels

_FORMS = (
    "expected uint8 images [N, H, W, C], [H, W, C], [N, H, W] or [H, W], float32 vectors [N, D] or [D], Pillow images, "
    "paths of pictures, of folders of them or of .npz, .npy or .csv files, pictures as bytes or open files, samples, "
    "sample batches, or a sequence of these"
)


_MOST_CHANNELS = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """The samples of one source."""

    samples: npt.NDArray[Any]
    """uint8 [N, H, W, C] or float32 [N, D]."""
    source: Source
    """Its name in errors."""
    picture: bool
    """True for a picture: it must have the model's size, and its channels may be converted."""
    labels: tuple[str | int, ...] | None = None
    """Each sample's label, if the source contains it."""
    model: str | None = None
    """The model that drew the samples, if the source contains its name."""
    channels_last: str = ""
    """The call that moves the channels last, if the first axis may be channels; the model's shape decides."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreInputs:
    """Samples to score, read and checked as far as possible without the model."""

    pieces: tuple[_Piece, ...]
    label: Labels | None
    fit: bool = False
    """Cut and resize pictures of another size to the model's."""

    @classmethod
    def read(cls, images: ImagesLike, label: Labels | None, fit: bool = False) -> ScoreInputs:
        """Read what `Client.score` takes; opens files."""
        fit = check_flag("fit", fit)
        if _is_source(images):
            return cls(tuple(_read(images, "images", fit=fit)), label, fit)
        if not isinstance(images, Sequence):
            raise InvalidRequest.of("images", f"is {kind_of(images)}; {_FORMS}")
        if not images:
            raise InvalidRequest.of("images", "is empty; expected at least one")
        for position, source in enumerate(images):
            if not _is_source(source):
                raise InvalidRequest.of(f"images[{position}]", f"is {kind_of(source)}; {_FORMS}")
        sources = [(source, f"images[{position}]") for position, source in enumerate(images)]
        return cls(tuple(piece for source, name in sources for piece in _read(source, name, fit=fit)), label, fit)

    @property
    def needs_model(self) -> bool:
        """True if the next checks need the model: its shape for pictures, its critic for labels from the sources."""
        return any(bool(piece.picture or piece.labels is not None or piece.channels_last) for piece in self.pieces)

    @property
    def model(self) -> str | None:
        """The model that drew all of these, if the sources name it, as batches and grids do."""
        models = {piece.model for piece in self.pieces}
        return models.pop() if len(models) == 1 else None

    def samples(self, info: ModelInfo | None) -> npt.NDArray[Any]:
        """Return all samples, uint8 [N, H, W, C] or float32 [N, D]; the model is required if `needs_model`."""
        parts = [piece.samples if info is None else _fitted(piece, info, fit=self.fit) for piece in self.pieces]
        first = parts[0]
        for piece, part in zip(self.pieces, parts, strict=True):
            if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
                expected, got = (f"{each.dtype} {list(each.shape[1:])}" for each in (first, part))
                raise piece.source.refuse(f"is {got}; expected {expected} like the others")
        return first if len(parts) == 1 else np.concatenate(parts)

    def labels(self, count: int, info: ModelInfo | None) -> LabelFields:
        """Return the label fields for these `count` samples: the caller's, or those of the sources.

        If the critic takes no labels, those of the sources are not sent; the server refuses the caller's own.
        """
        if self.label is not None:
            return label_fields(self.label, count)
        if info is not None and info.conditional and not info.critic_takes_labels:
            return LabelFields()
        without = [piece.source.file or piece.source.argument for piece in self.pieces if piece.labels is None]
        if len(without) == len(self.pieces):
            return LabelFields()
        if without:
            raise InvalidRequest.of("label", f"is missing: {without[0]} has none, but others do")
        carried = [label for piece in self.pieces for label in piece.labels or ()]
        return label_fields(carried, count)  # type: ignore[arg-type]  # names or indices; it refuses a mixture


def _is_source(value: object) -> bool:
    return (
        isinstance(value, SampleBatch | Sample | str | os.PathLike | bytes | bytearray)
        or hasattr(value, "__array__")
        or hasattr(value, "__array_interface__")
        or hasattr(value, "read")
        or _is_vector(value)
    )


def _is_vector(value: object) -> bool:
    """Return whether this is a list of numbers, which are one vector."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, numbers.Real) and not isinstance(each, bool) for each in value)
    )


def _read(given: Any, argument: str, *, fit: bool) -> list[_Piece]:
    """Return the pieces of one source: one for each picture of a folder, otherwise one."""
    if isinstance(given, SampleBatch):
        return [_drawn_batch(given, argument)]
    if isinstance(given, Sample):
        return [_drawn_sample(given, argument)]
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            return [_numbers(path, Source(argument, file=str(given)))]
        files = pictures_in(path, Source(argument, file=str(given))) if path.is_dir() else [path]
        sources = [Source(argument, file=str(file)) for file in files]
        return [_picture(open_picture(source.file or "", source), source, fit=fit) for source in sources]
    source = Source(argument)
    if hasattr(given, "getbands"):  # a Pillow image; Pillow may not be installed
        return [_picture(given, source, fit=fit)]
    if isinstance(given, bytes | bytearray):
        return [_picture(open_picture(io.BytesIO(given), source), source, fit=fit)]
    if hasattr(given, "read"):
        if isinstance(given, io.TextIOBase):
            raise source.refuse('is a file that was opened as text; expected one that was opened as bytes: "rb"')
        return [_picture(open_picture(given, source), source, fit=fit)]
    if _is_vector(given):
        given = np.array(given, np.float64)
    try:
        array = as_array(given)
    except ValueError as error:
        raise source.refuse(f"is {kind_of(given)}, not an array ({error}); {_FORMS}") from error
    # the fix for PyTorch or for NumPy
    return [_given_array(array, source, "permute" if hasattr(given, "permute") else "transpose")]


def _given_array(array: npt.NDArray[Any], source: Source, method: str = "transpose") -> _Piece:
    fix = _channels_last(array, method)
    return _Piece(_array(array, source, fix), source, picture=False, channels_last=fix if array.ndim == 3 else "")


def _numbers(file: Path, source: Source) -> _Piece:
    """Return the samples of a file of numbers, with its labels and model."""
    samples, names, model = read_samples(file, source)
    labels = None if names is None else tuple(names)
    if model is None or samples.ndim != 4 or not len(samples):
        return replace(_given_array(samples, source), labels=labels, model=model)
    # `SampleBatch.save_npz` wrote them, with any encoding.
    return _Piece(as_images(samples, 4, model), source, picture=True, labels=labels, model=model)


def pictures_in(folder: Path, source: Source, *, deep: bool = False) -> list[Path]:
    """Return the pictures of a folder, and with `deep` of folders in it, by name, without hidden ones."""
    files: list[Path] = []
    for inside, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
        paths = (Path(inside, name) for name in sorted(names) if not name.startswith("."))
        files += [file for file in paths if file.suffix.lower() in ENDINGS]
    if not files:
        searched = "" if deep else " (folders in it are not searched)"
        raise source.refuse(f"is a folder without pictures{searched}; expected files that end in {', '.join(ENDINGS)}")
    return files


def _refuse_folder(error: OSError) -> NoReturn:
    raise error


def _drawn_batch(batch: SampleBatch, argument: str) -> _Piece:
    if not len(batch):
        raise InvalidRequest.of(argument, "is an empty batch; expected at least one sample")
    labels = batch.label_names or (None if batch.labels is None else tuple(batch.labels.tolist()))
    picture = batch.samples.ndim == 4
    samples = batch.images if picture else batch.samples
    return _Piece(samples, Source(argument), picture=picture, labels=labels, model=batch.model)


def _drawn_sample(sample: Sample, argument: str) -> _Piece:
    label = sample.label_name or sample.label
    picture = sample.array.ndim == 3
    array = sample.image if picture else sample.array
    labels = None if label is None else (label,)
    return _Piece(array[None], Source(argument), picture=picture, labels=labels, model=sample.model)


def _picture(image: Any, source: Source, *, fit: bool) -> _Piece:
    pixels, grid = read_pixels(without_inks(image) if fit else image, source)
    if grid is None:
        return _Piece(pixels, source, picture=True)
    return _Piece(pixels, source, picture=True, labels=grid.label_names or grid.labels, model=grid.model)


def _array(array: npt.NDArray[Any], source: Source, fix: str) -> npt.NDArray[Any]:
    """Return the array as a batch, uint8 [N, H, W, C] or float32 [N, D].

    `fix` is the call that moves the channels last, if they are first.
    """
    got = f"is {array.dtype} {list(array.shape)}"
    if not array.size:
        raise source.refuse(f"{got}; expected at least one sample")
    if array.dtype == np.uint8:
        if array.ndim == 4:
            if fix:
                raise source.refuse(f"{got}, channels first; expected [N, H, W, C]: .{fix}")
            return array
        if array.ndim == 3:  # so narrow images need the form [N, H, W, 1]
            return array[None] if array.shape[-1] <= _MOST_CHANNELS else array[..., None]
        if array.ndim == 2:
            return array[None, ..., None]
    elif array.dtype.kind == "f" and array.ndim in (1, 2):
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the next line refuses
            vectors = array.astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise source.refuse("has NaN or infinity; expected values that are finite in float32")
        return np.atleast_2d(vectors)
    elif array.dtype.kind in "iuf" and array.ndim in (2, 3, 4):
        last = f", channels last: .{fix}" if fix and array.ndim == 4 else ""
        raise source.refuse(f"{got}; expected images as uint8, 0 to 255: scale, round, .astype(numpy.uint8){last}")
    raise source.refuse(f"{got}; {_FORMS}")


def _channels_last(array: npt.NDArray[Any], method: str) -> str:
    """Return the call that moves the channels last, if the shape looks as if they came first; otherwise ""."""
    if array.ndim == 4 and array.shape[1] <= _MOST_CHANNELS < array.shape[3]:
        return f"{method}(0, 2, 3, 1)"
    if array.ndim == 3 and 1 < array.shape[0] <= _MOST_CHANNELS < array.shape[2]:  # or a few gray images
        return f"{method}(1, 2, 0)"
    return ""


def _fitted(piece: _Piece, info: ModelInfo, *, fit: bool) -> npt.NDArray[Any]:
    """Return the samples; those of a picture with the model's channels, and with its size if `fit`."""
    if piece.channels_last:
        channels, *size = piece.samples.shape[:3]
        if info.sample.shape == (*size, channels):
            got = f"is {piece.samples.dtype} {[channels, *size]}"
            raise piece.source.refuse(f"{got}, channels first; expected [H, W, C]: .{piece.channels_last}")
    if not piece.picture:
        return piece.samples
    if info.sample.kind != "image":
        raise piece.source.refuse(f"is a picture, and model {info.name!r} scores vectors {list(info.sample.shape)}")
    try:
        return _as_it_is(piece, info)
    except NeedsFittingError:
        if not fit:
            raise
        return resized(piece.samples, info.sample.shape)


def _as_it_is(piece: _Piece, info: ModelInfo) -> npt.NDArray[Any]:
    height, width, channels = info.sample.shape
    given_height, given_width = piece.samples.shape[1:3]
    if (given_height, given_width) != (height, width):
        hint = "" if piece.model else "; only a grid that ganserve wrote would be cut into its samples"
        raise piece.source.refuse_form(
            f"is {given_width}x{given_height} pixels; model {info.name!r} takes {width}x{height}{hint}"
        )
    return fit_channels(piece.samples, channels, piece.source)
