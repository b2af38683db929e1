"""Fashion-MNIST (Xiao et al. 2017), from Debian's package or from the data set's own files. N = images."""

from dataclasses import dataclass, replace
from pathlib import Path

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import register_source
from ganserve_training.data.sources.mnist import PaddedIdxConfig
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


@register_source
@dataclass(frozen=True, kw_only=True)
class FashionConfig(PaddedIdxConfig):
    """Fashion-MNIST: 60,000 pieces of clothing, 28 x 28 gray, from Debian's package or from their files."""

    source = "fashion"

    path: str = ""
    """Folder of Fashion-MNIST's IDX files. Empty: that of Debian's package dataset-fashion-mnist."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:  # noqa: ARG002
        """Return pieces of clothing with labels by name, such as "ankle-boot".

        Raises:
            DataError: The files are missing or wrong.
        """
        path = self.path or str(_DEBIAN)
        if not self.path and not _DEBIAN.is_dir():
            raise DataError(
                "--data.source fashion: needs the files of Fashion-MNIST. Install them on Debian or Ubuntu: "
                "sudo apt-get install dataset-fashion-mnist; elsewhere name their folder with --data.path."
            )
        return replace(self, path=path).load_idx(_NAMES)
