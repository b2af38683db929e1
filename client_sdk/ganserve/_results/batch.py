"""Hold the samples that a call returns: show, convert, save, slice and join them."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent, L = layers, W = values of one w

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import IO, TYPE_CHECKING, Any, overload

import numpy as np

from ganserve._argument_checks import check_suffix, kind_of
from ganserve._errors import InvalidRequest
from ganserve._results.conversions import as_images, kind_of_samples, to_torch
from ganserve._results.origin import Origin
from ganserve._results.pictures import grid_png, has_pillow, sample_png, save_each, save_grid, to_pil
from ganserve._results.sample import Sample
from ganserve._results.selection import SelectionReport
from ganserve._results.tables import write_csv
from ganserve._results.whole_files import whole_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import PIL.Image
    import torch

    from ganserve._results.marking import Marking

_MOST_SHOWN = 200  # samples in a notebook's picture


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SampleBatch:
    """Samples, with all that it takes to draw them again.

    `len(batch)` is N; iterating gives each `Sample`. `batch[i]` is one sample; a slice, a boolean mask or indices give
    a smaller batch: `batch[:8]`, `batch[batch.scores > 0]`, `batch[np.argsort(-batch.scores)]`.
    """

    samples: npt.NDArray[Any]
    """The samples: uint8 images [N, H, W, C] (float32, 0 to 1, with encoding="float32"), or float32 vectors [N, D]."""
    indices: npt.NDArray[np.int64]
    """Each sample's index in the seed's sequence, int64 [N]."""
    labels: npt.NDArray[np.int64] | None
    """Each sample's label by index, int64 [N]; None for an unconditional model."""
    label_names: tuple[str, ...] | None
    """Each sample's label by name, N of them; None for an unconditional model."""
    seed: int | None
    """The seed that was used, drawn if none was given; None if the samples were made from given latents."""
    model: str
    """Name of the model that drew the samples."""
    version: int
    """Version of the model that drew the samples."""
    scores: npt.NDArray[np.float32] | None = None
    """The critic's own outputs, float32 [N], higher for more realistic; None without `return_scores`."""
    probabilities: npt.NDArray[np.float32] | None = None
    """Calibrated probabilities that each sample is real rather than this generator's, float32 [N]; None without
    `return_scores`."""
    latents: npt.NDArray[np.float32] | None = None
    """The samples' latents, float32 [N, Z]; None without `return_latents`, unless they were given."""
    w: npt.NDArray[np.float32] | None = None
    """The samples' w's, float32 [N, L, W], mixed and truncated; None without `return_w`, unless
    they were given."""
    selection: SelectionReport | None = None
    """The report of `select`; None without it, and for a part of a batch."""
    origin: Origin | None = None
    """The package and the options that the samples were drawn with, for the marks of pictures; None: unknown."""

    @classmethod
    def _of(cls, **fields: Any) -> SampleBatch:
        """Return a batch of these fields, several times faster than a frozen dataclass's constructor."""
        batch = cls.__new__(cls)
        vars(batch).update(fields)
        return batch

    @classmethod
    def concatenate(cls, batches: Sequence[SampleBatch]) -> SampleBatch:
        """Join batches of the same model, version and seed, such as those of a stream.

        Raises:
            InvalidRequest: There is no batch, or they differ in these, or only some have scores, latents and such.
        """
        if not batches:
            raise InvalidRequest.of("batches", "is empty; expected at least one")
        first = batches[0]
        for name in ("model", "version", "seed"):
            different = {getattr(batch, name) for batch in batches}
            if len(different) > 1:
                raise InvalidRequest.of("batches", f"have the {name}s {sorted(map(str, different))}; expected one")
        merged: dict[str, Any] = {}
        for name in _PER_SAMPLE:
            parts = [getattr(batch, name) for batch in batches]
            if all(part is None for part in parts):
                merged[name] = None
            elif any(part is None for part in parts):
                raise InvalidRequest.of("batches", f"have {name.replace('_', ' ')} in part; expected all or none")
            else:
                merged[name] = sum(parts, ()) if name == "label_names" else np.concatenate(parts)
        selection = SelectionReport.total(batch.selection for batch in batches)
        return replace(first, selection=selection, origin=Origin.common([each.origin for each in batches]), **merged)

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The images, uint8 [N, H, W, C], for every encoding.

        Raises:
            UnsupportedByModel: The model makes vectors; use `samples`.
        """
        return as_images(self.samples, 4, self.model)

    @property
    def offset(self) -> int:
        """Index of the first sample in the seed's sequence."""
        return int(self.indices[0]) if len(self.indices) else 0

    def to_pil(self) -> list[PIL.Image.Image]:
        """Return the samples as Pillow images.

        Raises:
            UnsupportedByModel: The model makes vectors.
            MissingExtra: Pillow is not installed.
        """
        return [to_pil(image) for image in self.images]

    def to_torch(self) -> torch.Tensor:
        """Return the samples as a new PyTorch tensor: images [N, C, H, W], as in torchvision, or vectors [N, D].

        Images are uint8, or float32 from 0 to 1 with encoding="float32"; vectors are float32.

        Raises:
            MissingExtra: PyTorch is not installed.
        """
        return to_torch(self.samples, 4)

    def png(self, i: int, *, scale: int = 1, mark: Marking = True) -> bytes:
        """Return the PNG file of sample i, with its label, model and seed, such as for a web server's answer.

        Args:
            i: The sample's place in the batch; negative ones count from the end.
            scale: Width and height of a sample's pixel in the picture.
            mark: As for `save_grid`.

        Raises:
            IndexError: There is no such sample.
            InvalidRequest: `scale` is wrong, or the picture would be too large.
            UnsupportedByModel: The model makes vectors.
            MissingExtra: Pillow is not installed.
        """
        return sample_png(self, self._place(i), scale=scale, mark=mark)

    def grid_png(
        self, *, columns: int | None = None, scale: int | None = None, captions: bool = False, mark: Marking = True
    ) -> bytes:
        """Return the PNG file that `save_grid` writes; the arguments and errors are the same."""
        return grid_png(self, columns=columns, scale=scale, captions=captions, mark=mark)

    @overload
    def save_grid(
        self,
        path: str | os.PathLike[str],
        *,
        columns: int | None = ...,
        scale: int | None = ...,
        captions: bool = ...,
        mark: Marking = ...,
    ) -> Path: ...
    @overload
    def save_grid(
        self,
        path: IO[bytes],
        *,
        columns: int | None = ...,
        scale: int | None = ...,
        captions: bool = ...,
        mark: Marking = ...,
    ) -> None: ...
    def save_grid(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        columns: int | None = None,
        scale: int | None = None,
        captions: bool = False,
        mark: Marking = True,
    ) -> Path | None:
        """Write the samples as one PNG; `ganserve score` and `Client.score` can cut it into the same samples again.

        The samples keep their order. If they are sorted by label, each label starts a row. Samples of given latents,
        such as those of `interpolate`, are one row. Any other picture is nearly square.

        Args:
            path: The file, which must end in .png, or one that is open for writing bytes.
            columns: Samples in a row. Default: up to 32 if rows are labels or latents, else a nearly square picture.
            scale: Width and height of a sample's pixel in the picture. Default: samples are at least 28 pixels wide.
            captions: Write labels and, if there are any, scores beside the samples. `score` cuts them off again.
            mark: Say in the file, as XMP, that it is generated, and what it takes to draw it again, for `verify`. A
                `PictureSigner` adds a signed C2PA manifest. False writes only the picture, which `score` cannot cut.

        Returns:
            The file's path; None for an open file.

        Raises:
            InvalidRequest: An argument is wrong, or the picture too large.
            UnsupportedByModel: The model makes vectors.
            MissingExtra, OSError: Pillow is not installed; the file cannot be written.
        """
        return save_grid(self, path, columns=columns, scale=scale, captions=captions, mark=mark)

    def save(self, folder: str | os.PathLike[str], *, mark: Marking = True) -> list[Path]:
        """Write each sample as a PNG, named for its index and label.

        Args:
            folder: The folder, made if missing; files of the same names are overwritten.
            mark: As for `save_grid`.

        Returns:
            The files' paths, in order.

        Raises:
            UnsupportedByModel: The model makes vectors.
            MissingExtra: Pillow is not installed.
            OSError: A file cannot be written.
        """
        return save_each(self, folder, mark=mark)

    def save_npz(self, path: str | os.PathLike[str]) -> Path:
        """Write all fields that are not None as a compressed NumPy archive.

        Args:
            path: The file; must end in .npz.

        Returns:
            The file's path.

        Raises:
            InvalidRequest: The path has another ending.
            OSError: The file cannot be written.
        """
        file = check_suffix(path, ".npz")
        others = ("selection", "origin")
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}
        if self.selection is not None:
            arrays |= {"proposed": self.selection.proposed, "accepted": self.selection.accepted}
        if self.origin is not None:
            arrays |= {"package_sha256": self.origin.package_sha256 or None, "options": self.origin.options or None}
        if self.seed is not None:
            arrays["seed"] = np.uint64(self.seed)
        stored: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
        with whole_file(file) as stream:
            np.savez_compressed(stream, **stored)
        return file

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write vectors as a table with the columns x0, x1 …, and label, score and probability if the batch has them.

        Args:
            path: The file; must end in .csv.

        Returns:
            The file's path.

        Raises:
            InvalidRequest: The path has another ending.
            UnsupportedByModel: The model makes images.
            OSError: The file cannot be written.
        """
        return write_csv(self, check_suffix(path, ".csv"))

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Sample: ...
    @overload
    def __getitem__(
        self, key: slice | Sequence[int] | npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]]
    ) -> SampleBatch: ...
    def __getitem__(self, key: Any) -> Sample | SampleBatch:
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            return self._one(self._place(key))
        chosen: npt.NDArray[np.intp] = np.arange(len(self))[key]
        if chosen.ndim != 1:
            raise IndexError(f"a batch has one axis: index it by an int, a slice, a mask or indices (got {key!r})")
        parts: dict[str, Any] = {}
        for name in _PER_SAMPLE:
            part = getattr(self, name)
            if part is not None:
                part = tuple(part[i] for i in chosen) if name == "label_names" else part[chosen]
            parts[name] = part
        return replace(self, selection=None, **parts)

    def _place(self, i: int | np.integer[Any]) -> int:
        """Return the place of sample i, counted from the start."""
        if not isinstance(i, int | np.integer):
            raise TypeError(f"a sample's place is an int, from 0 to {len(self) - 1:,} (got {kind_of(i)})")
        if not -len(self) <= i < len(self):
            raise IndexError(f"there is no sample {i}: the batch has {len(self):,}, counted from 0")
        return int(i) % len(self)

    def _one(self, i: int) -> Sample:
        return Sample(
            array=self.samples[i],
            index=int(self.indices[i]),
            label=None if self.labels is None else int(self.labels[i]),
            label_name=None if self.label_names is None else self.label_names[i],
            score=None if self.scores is None else float(self.scores[i]),
            probability=None if self.probabilities is None else float(self.probabilities[i]),
            seed=self.seed,
            model=self.model,
            version=self.version,
            latent=None if self.latents is None else self.latents[i],
            w=None if self.w is None else self.w[i],
            origin=self.origin,
        )

    def __repr__(self) -> str:
        parts = [
            f"{len(self)} x {kind_of_samples(self.samples.dtype, self.samples.shape[1:])}",
            f"model={self.model!r}",
            f"version={self.version}",
        ]
        if self.label_names is not None:
            names = sorted(set(self.label_names))
            shown = ", ".join(map(repr, names[:5])) + (f", … {len(names)} labels" if len(names) > 5 else "")
            parts.append(f"label={shown}" if len(names) == 1 else f"labels={{{shown}}}")
        parts += [f"seed={self.seed}", f"offset={self.offset}"]
        if self.scores is not None and len(self):
            parts.append(f"scores={self.scores.min():.3g}…{self.scores.max():.3g}")
        if self.latents is not None:
            parts.append(f"latents={list(self.latents.shape)}")
        if self.w is not None:
            parts.append(f"w={list(self.w.shape)}")
        if self.selection is not None:
            parts.append(f"selected from {self.selection.proposed} ({self.selection.acceptance_rate:.0%} accepted)")
        return f"SampleBatch({', '.join(parts)})"

    def _repr_png_(self) -> bytes | None:
        """Return the picture for a notebook: the first 200 images, or vectors of two values as points; else None."""
        if not len(self) or not has_pillow():
            return None
        if self.samples.ndim == 4:
            return grid_png(self[:_MOST_SHOWN])
        if self.samples.shape[1] != 2 or not np.isfinite(self.samples).all(axis=1).any():
            return None
        from ganserve._results.scatter import scatter_png

        return scatter_png(self.samples, self.labels)


_PER_SAMPLE = ("samples", "indices", "labels", "label_names", "scores", "probabilities", "latents", "w")
