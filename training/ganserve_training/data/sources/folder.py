"""Picture files in a folder or a zip archive: with StyleGAN's index, folders of labels, a CSV file, or no labels.

N = images.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import OnBadFile, StoredDataConfig, existing, register_source
from ganserve_training.data.image_decoding import ENDINGS
from ganserve_training.data.label_table import read_label_table
from ganserve_training.data.labels import index_labels
from ganserve_training.data.layouts.advice import advice
from ganserve_training.data.layouts.arrangement import Arrangement
from ganserve_training.data.layouts.folder_tree import FolderTree
from ganserve_training.data.layouts.label_folders import label_folders
from ganserve_training.data.layouts.listed import listed
from ganserve_training.data.layouts.stylegan import stylegan
from ganserve_training.data.layouts.tree import Tree, by_ending, ending
from ganserve_training.data.layouts.zip_tree import ZipTree
from ganserve_training.data.origin import Origin, PassedOver
from ganserve_training.data.storage.check_images import build_stored_images
from ganserve_training.data.storage.encoded_store import EncodedStore, Inspected, digest_inspected
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_OTHER_SOURCES = {".parquet": "parquet", ".pq": "parquet", ".npy": "array", ".npz": "array", ".csv": "csv"}
_TORCH = (".pt", ".pth")
"""Files of torch.save, which are zip archives, too."""


@register_source
@dataclass(frozen=True, kw_only=True)
class FolderConfig(StoredDataConfig):
    """Image files in a folder, or in a zip archive, and the folders in it."""

    source = "folder"

    path: str = ""
    """The folder, or a zip archive."""
    labels_path: str | None = None
    """A CSV file of labels, with the columns file and label."""
    on_bad_file: OnBadFile = field(default="fail", metadata={"aliases": ("--on-bad-file",)})
    """fail: list the images that can't be read, and stop. skip: list them, and train without them."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:
        """Return the images of the training part of a folder or zip archive.

        Labels come from the CSV file `data.labels_path`, which then also lists the files to take; else from StyleGAN's
        dataset.json; else from the first sub-folder of an image's path; else there are none.

        Raises:
            DataError: There is no such folder, it has no images, or an image has no label.
        """
        root = self.existing_path("either")
        tree = _open(root)
        use_labels = self.labels == "use"
        if self.labels_path is not None:
            table = existing(Path(self.labels_path).expanduser(), kind="file", option="data.labels_path")
            arrangement = listed(tree, root, table, read_label_table(table))
        else:
            _expect_pictures(root, tree)
            arrangement = stylegan(tree, use_labels=use_labels) or label_folders(
                tree, str(root), use_labels=use_labels, is_archive=root.is_file()
            )
        if not arrangement.files:
            raise DataError(f"{root} holds no images to learn from: {'; '.join(map(str, arrangement.passed_over))}")
        return load_arranged(tree, arrangement, self, report)


@dataclass(slots=True, eq=False)
class FileStore(EncodedStore):
    """Picture files of a folder or an archive."""

    tree: Tree
    """The place."""
    files: list[str]
    """Paths of the files in it, with forward slashes."""
    _inspected: list[Inspected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Return the file's path."""
        return self.tree.name(self.files[index])

    def sha256(self) -> str:
        """Return a digest of paths below the folder, and of the files' contents."""
        return digest_inspected(self.files, self._inspect())

    def _sources(self) -> list[Path]:
        return self.tree.sources(self.files)

    def _encoded(self, index: int) -> bytes:
        return self.tree.read(self.files[index])


def _open(root: Path) -> Tree:
    if root.is_dir():
        return FolderTree.walk(root, ENDINGS)
    if zipfile.is_zipfile(root) and ending(root.name) not in (*_OTHER_SOURCES, *_TORCH):
        return ZipTree(root, ENDINGS)
    flag, source = f"--data {root}", _OTHER_SOURCES.get(ending(root.name))
    if source:
        raise DataError(f"{flag}: must be a folder of pictures, or a zip archive of them. Add --data.source {source}.")
    if ending(root.name) == ".zip":
        raise DataError(f"{flag}: is cut off, or no zip archive. Get it again, or give a folder of pictures.")
    if ending(root.name) in ENDINGS:
        raise DataError(f"{flag}: is one picture, and a GAN learns from many. Give a folder of pictures.")
    fix = advice(root, [root.name])
    raise DataError(f"{flag}: must be a folder of pictures, or a zip archive of them.{f' {fix}.' if fix else ''}")


def load_arranged(
    tree: Tree, arrangement: Arrangement, config: StoredDataConfig, report: ReportBadFiles | None
) -> StoredImages:
    """Return the pictures of an arrangement, in the form that the configuration asks for."""
    store = FileStore(tree, arrangement.files)
    others = by_ending(file for file in tree.others if file not in arrangement.used)
    passed_over = (*arrangement.passed_over, *tree.passed_over, *others)
    if arrangement.labels is None:
        origin = Origin(how=arrangement.how, passed_over=passed_over)
        return build_stored_images(store, None, (), config, report, origin)
    origin = Origin(labels_from=arrangement.how, passed_over=passed_over)
    labels, names = index_labels(arrangement.labels)
    return build_stored_images(store, labels, names, config, report, origin)


def _expect_pictures(root: Path, tree: Tree) -> None:
    """Refuse a place without a single picture, and say what it holds instead."""
    if tree.files:
        return
    found: Sequence[PassedOver] = [*tree.passed_over, *by_ending(tree.others)]
    holds = f"it holds only: {', '.join(map(str, found))}" if found else "it is empty"
    fix = advice(root, tree.others)
    raise DataError(f"{root} holds no images ({', '.join(ENDINGS)}): {holds}{f'. {fix}' if fix else ''}")
