"""Image folders: class sub-folders, a CSV file of labels, or no labels. N = images."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import OnBadFile, StoredDataConfig, existing, register_source
from ganserve_training.data.image_decoding import UnreadableError
from ganserve_training.data.labels import index_labels, read_label_csv
from ganserve_training.data.storage.check_images import build_stored_images
from ganserve_training.data.storage.encoded_store import EncodedStore, Inspected, digest_inspected
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@register_source
@dataclass(frozen=True, kw_only=True)
class FolderConfig(StoredDataConfig):
    """Image files in a folder and the folders in it."""

    source = "folder"

    path: str = ""
    """The folder."""
    labels_path: str | None = None
    """A CSV file of labels, with the columns file and label."""
    on_bad_file: OnBadFile = field(default="fail", metadata={"aliases": ("--on-bad-file",)})
    """fail: list the images that can't be read, and stop. skip: list them, and train without them."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:
        """Return the images of a folder and its sub-folders.

        Labels come from the CSV file `data.labels_path`, which then also lists the files to take; else from the first
        sub-folder of an image's path; else there are none. Hidden files and folders, and files that don't end in .png,
        .jpg, .jpeg or .webp, are ignored.

        Raises:
            DataError: There is no such folder, it has no images, or an image has no label.
        """
        root = self.existing_path("folder")
        if self.labels_path is not None:
            listed = read_label_csv(
                existing(Path(self.labels_path).expanduser(), kind="file", option="data.labels_path")
            )
            labels, names = index_labels([label for _, label in listed])
            return build_stored_images(FileStore(root, [file for file, _ in listed]), labels, names, self, report)
        files = _find_images(root)
        store = FileStore(root, files)
        parts = [file.split("/") for file in files]
        folders = ["" if len(part) == 1 else part[0] for part in parts]
        if not any(folders):
            return build_stored_images(store, None, (), self, report)
        if self.labels == "use":
            _expect_one_label_each(root, files, folders)
        labels, names = index_labels(folders)
        return build_stored_images(store, labels, names, self, report)


@dataclass(slots=True, eq=False)
class FileStore(EncodedStore):
    """Picture files under one folder."""

    root: Path
    """The folder."""
    files: list[str]
    """Paths of the files below `root`, with forward slashes."""
    _inspected: list[Inspected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Return the file's path."""
        return str(self.root / self.files[index])

    def sha256(self) -> str:
        """Return a digest of paths below the folder, and of the files' contents."""
        return digest_inspected(self.files, self._inspect())

    def _sources(self) -> list[Path]:
        return [self.root / file for file in self.files]

    def _encoded(self, index: int) -> bytes:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error


def _find_images(root: Path) -> list[str]:
    files: list[str] = []
    others: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if ending in _ENDINGS:
                files.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others.add(ending or name)
    if not files:
        found = f"it holds only: {', '.join(sorted(others)[:8])}" if others else "it is empty"
        raise DataError(f"{root} holds no images ({', '.join(_ENDINGS)}): {found}")
    return sorted(files)


def _expect_one_label_each(root: Path, files: list[str], folders: list[str]) -> None:
    """Check that every image is in a sub-folder, and that every sub-folder has an image."""
    if "" in folders:
        first = files[folders.index("")]
        raise DataError(
            f"{root} holds images beside its sub-folders, such as {first}, which have no label: move them into one, "
            "or learn without labels: --data.labels ignore"
        )
    existing = {item.name for item in root.iterdir() if item.is_dir() and not item.name.startswith((".", "__MACOSX"))}
    empty = sorted(existing - set(folders))
    if empty:
        raise DataError(f"the label {empty[0]!r} has no images: {root / empty[0]} holds none; remove the folder")
