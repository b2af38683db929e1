"""Parquet files with a column of encoded images, as Hugging Face writes them. N = images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import OnBadFile, StoredDataConfig, register_source
from ganserve_training.data.label_table import LABELS, column_among
from ganserve_training.data.labels import index_label_array, index_labels, read_unless_ignored
from ganserve_training.data.layouts.folder_tree import FolderTree
from ganserve_training.data.layouts.split_names import find_splits
from ganserve_training.data.layouts.tree import by_ending
from ganserve_training.data.origin import Origin, PassedOver
from ganserve_training.data.storage.check_images import build_stored_images
from ganserve_training.data.storage.parquet_store import ParquetStore, holds_images, open_parquet
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError
from ganserve_training.files import reading

ENDINGS = (".parquet", ".pq")
"""Endings of Parquet files, in lower case."""
_NAMED = 3
_IMAGES, _LABELS = "image", "label"
"""Usual columns; where a file has others, they are recognised."""


@register_source
@dataclass(frozen=True, kw_only=True)
class ParquetConfig(StoredDataConfig):
    """Encoded images in a column of Parquet files."""

    source = "parquet"

    path: str = ""
    """A file, or a folder of them."""
    image_column: str = _IMAGES
    """The column of encoded images; where there is no `image`, the only one that holds some."""
    label_column: str = _LABELS
    """The column of labels, integers or text; where there is no `label`, one like `fine_label`."""
    on_bad_file: OnBadFile = field(default="fail", metadata={"aliases": ("--on-bad-file",)})
    """fail: list the images that can't be read, and stop. skip: list them, and train without them."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:
        """Return images of a Parquet file, or of all Parquet files in a folder and below it.

        If some files or folders are called train, only those are read: the others are other splits. The image column
        holds encoded images, or structures of bytes and path; the label column integers, also as floats, true and
        false, or text. Integers get the names in the files' Hugging Face metadata, if there are any.

        Raises:
            DataError: There are no such files, a column is missing or of another type, or a label is missing.
        """
        path = self.existing_path("either")
        root, files, passed_over = (path.parent, [path], ()) if path.is_file() else _training_files(path)
        schemas = [open_parquet(file).schema_arrow for file in files]
        image_column, label_column = _columns(schemas[0], self.image_column, self.label_column)
        for file, schema in zip(files, schemas, strict=True):
            _expect_column(file, schema, image_column, "data.image-column")
        store = ParquetStore(root, files, image_column)
        if not len(store):
            raise DataError(f"{path} holds no rows")
        named = ", ".join(file.relative_to(root).as_posix() for file in files[:_NAMED])
        taken = f"{named} and {len(files) - _NAMED:,} more" if len(files) > _NAMED else named
        usual = (image_column, label_column) == (self.image_column, self.label_column)
        labelled = label_column in schemas[0].names
        taken_columns = f"columns {image_column} and {label_column}" if labelled else f"column {image_column}"
        columns = "" if usual else f", {taken_columns}"
        origin = Origin(how=f"rows of {taken}{columns}", passed_over=tuple(passed_over))
        if self.labels == "ignore" and any(label_column not in schema.names for schema in schemas):
            return build_stored_images(store, None, (), self, report, origin)
        for file, schema in zip(files, schemas, strict=True):
            otherwise = "; or learn without labels: --data.labels ignore"
            _expect_column(file, schema, label_column, "data.label-column", otherwise)
        labels, names = read_unless_ignored(
            lambda: _read_labels(files, schemas, label_column), ignored=self.labels == "ignore"
        )
        return build_stored_images(store, labels, names, self, report, origin)


def _training_files(path: Path) -> tuple[Path, list[Path], Sequence[PassedOver]]:
    """Return a folder, its Parquet files of the training part, and what is passed over.

    The names of files or folders say which part it is: train-00000-of-00002.parquet, train.parquet, train/0000.parquet,
    default/train/0000.parquet.
    """
    tree = FolderTree.walk(path, ENDINGS)
    if not tree.files:
        found = ", ".join(map(str, by_ending(tree.others)))
        raise DataError(f"{path} holds no .parquet files{f': it holds only {found}' if found else ''}")
    parts = {file: (*file.split("/")[:-1], PurePosixPath(file).stem) for file in tree.files}
    splits = find_splits(parts.values(), lone_train=True)
    if len(splits.held_out) > 1:
        names = " and ".join(splits.held_out)
        raise DataError(f"{path} holds only {names}, and no train: give the path of the part to learn from")
    taken = [file for file in tree.files if splits.inner(parts[file]) is not None]
    sets = sorted({place[:-1] for place in splits.training})
    if len(sets) > 1:
        names = ", ".join("/".join(place) for place in sets)
        example = path.joinpath(*sets[0])
        raise DataError(f"{path} holds several data sets, {names}: give the path of one, --data {example}")
    passed_over = [*splits.passed_over(parts.values()), *tree.passed_over, *by_ending(tree.others)]
    return path, [path / file for file in taken], passed_over


def _columns(schema: Any, image_column: str, label_column: str) -> tuple[str, str]:
    """Return the columns of images and labels: those that were named, else the usual ones, else what can be meant.

    Images: the only column that holds some. Labels: the one with the likeliest name, such as `labels`, `fine_label`.
    """
    names = schema.names
    if image_column == _IMAGES and image_column not in names:
        images = [name for name in names if holds_images(schema.field(name).type)]
        image_column = images[0] if len(images) == 1 else image_column
    if label_column == _LABELS and label_column not in names:
        label_column = column_among(names, (*LABELS, "finelabel", "coarselabel")) or label_column
    return image_column, label_column


def _expect_column(file: Path, schema: Any, column: str, option: str, otherwise: str = "") -> None:
    if column not in schema.names:
        raise DataError(
            f"{file} has no column {column!r} (it has: {', '.join(schema.names)}): name one with --{option}{otherwise}"
        )


def _read_labels(
    files: Sequence[Path], schemas: Sequence[Any], column: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    import pyarrow as pa

    values: list[int | float | str] = []
    for file, schema in zip(files, schemas, strict=True):
        kind = schema.field(column).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        types = pa.types
        usable = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
        if not any(is_of(kind) for is_of in usable):
            raise DataError(f"{file}: the label column {column!r} must hold integers or text (got {kind})")
        with reading(file, f"a Parquet file with the column {column!r}"):
            part = open_parquet(file).read(columns=[column], use_threads=False).column(column).to_pylist()
        if None in part:
            raise DataError(f"{file}: row {part.index(None)} has no label in {column!r}")
        values += [str(value) for value in part] if types.is_boolean(kind) else part
    text = {isinstance(value, str) for value in values}
    if len(text) > 1:
        raise DataError(f"the label column {column!r} holds integers in some files, text in others")
    if text == {True}:
        return index_labels([str(value) for value in values])
    named = {_label_names(schema, column) for schema in schemas}
    if len(named) > 1:
        raise DataError(f"the files call the labels in {column!r} by different names: are they of one data set?")
    return index_label_array(np.array(values), f"the label column {column!r} of {files[0]}", named.pop())


def _label_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Return the names that Hugging Face's `datasets` library keeps in the metadata for a ClassLabel."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return None
    try:
        names = json.loads(metadata)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None
