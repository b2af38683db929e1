"""The command `ganserve evaluate`: measure how good a model's samples are.

Training does not use ONNX, so the two meet here. Without the extra `export`, runs can still be evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve_export.errors import ExportError
from ganserve_training.commands import evaluate as evaluate_command

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_training.data import DataInfo
    from ganserve_training.evaluation.evaluate import Subject
    from ganserve_training.evaluation.features import Features
    from ganserve_training.evaluation.options import FeatureRange


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


COMMAND = evaluate_command.command(_open_package, _load_features, ExportError)
main = COMMAND.main
