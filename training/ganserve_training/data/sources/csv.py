"""CSV files: tables of pixels, or of the paths of pictures and their labels. N = images, D = pixels of one.

`label,pixel0,pixel1,…` with or without such a header, `label,pixels` with all pixels in one value, `file,label`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import OnBadFile, StoredDataConfig, register_source
from ganserve_training.data.image_decoding import ENDINGS
from ganserve_training.data.label_table import LabelTable, lists_files, read_label_table
from ganserve_training.data.labels import index_label_array
from ganserve_training.data.layouts.folder_tree import FolderTree
from ganserve_training.data.layouts.listed import listed
from ganserve_training.data.origin import Origin
from ganserve_training.data.pixel_table import read_pixel_table
from ganserve_training.data.sources.folder import load_arranged
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.pixel_values import as_pixels
from ganserve_training.data.storage.stored_images import StoredImages


@register_source
@dataclass(frozen=True, kw_only=True)
class CsvConfig(StoredDataConfig):
    """Images in a CSV file: their pixels, or their paths and labels."""

    source = "csv"

    path: str = ""
    """The CSV file, gzipped or not."""
    label_column: str | None = None
    """The column of labels. None: the one with a usual name, such as label or class."""
    on_bad_file: OnBadFile = field(default="fail", metadata={"aliases": ("--on-bad-file",)})
    """fail: list the images that can't be read, and stop. skip: list them, and train without them."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:
        """Return the images of a table of pixels, or the pictures that a table lists, below its folder.

        Raises:
            DataError: There is no such file, it is damaged, or it holds neither.
        """
        path = self.existing_path("file")
        if lists_files(path, self.label_column, with_labels=False):
            table = read_label_table(path, self.label_column, with_labels=self.labels == "use")
            tree = _tree(path, table)
            arrangement = listed(tree, path.parent, path, table)
            if self.labels == "ignore":
                arrangement = replace(arrangement, labels=None, how=f"pictures that {path} lists")
            return load_arranged(tree, arrangement, self, report)
        rows = read_pixel_table(path, self.label_column)
        labels, names = None, tuple[str, ...]()
        if rows.labels is not None and self.labels == "use":
            labels, names = index_label_array(rows.labels, f"{path} ({rows.label_name})")
        pixels, how = as_pixels(rows.pixels, str(path))
        labels_from = f"labels from {rows.label_name}" if rows.label_name else ""
        origin = Origin(labels_from=labels_from, how=how, passed_over=rows.passed_over)
        return images_of_array(pixels, labels, names, self, str(path), origin)


def _tree(path: Path, table: LabelTable) -> FolderTree:
    """Return the pictures that a table can mean: those at the paths that it gives, else all below its folder."""
    files = [file for file, _ in table.rows]
    if all((path.parent / file).is_file() for file in files):
        return FolderTree(path.parent, sorted(files), [], [], [])
    return FolderTree.walk(path.parent, ENDINGS)
