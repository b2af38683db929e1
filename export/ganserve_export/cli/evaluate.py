"""`ganserve evaluate`: training's command, which here also opens model packages and ONNX feature networks.

Training knows nothing of ONNX, so this is where the two meet. Without the extra `export`, runs can still be evaluated.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ganserve_export.errors import ExportError
from ganserve_training.cli import evaluate as evaluate_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ganserve_training.data import DataInfo
    from ganserve_training.evaluation.features import Features
    from ganserve_training.evaluation.options import FeatureRange
    from ganserve_training.evaluation.subjects import Subject


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        return evaluate_command.main(argv, open_package=_open_package, load_features=_load_features)
    except ExportError as error:
        sys.stderr.write(f"ganserve evaluate: error: {error}\n")
        return 1


def _open_package(path: Path) -> Subject | None:
    from ganserve_export.package.publishing import package_folder

    folder = package_folder(path)
    if folder is None:
        return None
    from ganserve_export.evaluation.package_subject import package_subject

    return package_subject(folder)


def _load_features(file: Path, info: DataInfo, side_px: int | None, values: FeatureRange) -> Features:
    from ganserve_export.evaluation.onnx_features import onnx_features

    return onnx_features(file, info, side_px=side_px, values=values)
