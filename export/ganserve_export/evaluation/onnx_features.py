"""Extract features with an ONNX network, run on the CPU. N = batch, C = channels, H, W = image, F = features."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve_export.errors import ExportError
from ganserve_export.package.onnx_graphs import open_on_cpu
from ganserve_training.data import DataInfo
from ganserve_training.evaluation.features import FeatureInput, Features, batches
from ganserve_training.evaluation.options import FeatureRange
from ganserve_training.files import file_sha256

BATCH = 64


def onnx_features(file: Path, info: DataInfo, *, side_px: int | None, values: FeatureRange) -> Features:
    """Return features: the first output, flattened, of an ONNX network with one input, float32 [N, C, H, W].

    The file's fixed extents decide the size of the images; `side_px` (default: as in the data) decides open ones. Raise
    ExportError if the file cannot be loaded or has other inputs.
    """
    session = open_on_cpu(file)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or not info.is_image:
        described = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        raise ExportError(f"a feature network takes images as one input float32 [N, C, H, W]; {file} takes {described}")
    fixed = [length if isinstance(length, int) else None for length in inputs[0].shape]
    form = FeatureInput(
        channels=fixed[1] or info.channels,
        height=fixed[2] or side_px or info.height,
        width=fixed[3] or side_px or info.width,
        values=values,
    )
    batch, name, output = fixed[0] or BATCH, inputs[0].name, session.get_outputs()[0].name

    def extract(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        parts = []
        for images in map(form.prepare, batches(pixels, batch)):
            missing = (fixed[0] or len(images)) - len(images)  # A fixed batch size: fill the last batch.
            filled = np.concatenate([images, images[:1].repeat(missing, axis=0)]) if missing else images
            features = session.run([output], {name: filled})[0]
            parts.append(features.reshape(len(features), -1)[: len(images)])
        return np.concatenate(parts)

    return Features(name=file.name, sha256=file_sha256(file), resizer=form.resizer(info), extract=extract)
