"""Extract features with a TorchScript network. N = batch, C = channels, F = features."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.features.features import Features
from ganserve_training.evaluation.features.resizing import FeatureInput
from ganserve_training.evaluation.options import FeatureRange
from ganserve_training.files import file_sha256

_BATCH = 64


def torchscript_features(file: Path, info: DataInfo, *, side_px: int | None, values: FeatureRange) -> Features:
    """Return features: the first output of a TorchScript network, flattened.

    Args:
        file: A network saved by `torch.jit.save` that takes float32 [N, C, H, W]; its first convolution decides C.
        info: What the images look like.
        side_px: H and W that it takes; None: as in the data.
        values: Values of black and white for it.

    Raises:
        ConfigError: The data are not images, or the file is not TorchScript.
    """
    if not info.is_image:
        raise ConfigError(f"features {file}: needs images, and the data are vectors. Use features values")
    try:
        network = torch.jit.load(str(file), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{file} is not a TorchScript network: save it with torch.jit.save ({error})") from error
    channels = next((int(weight.shape[1]) for weight in network.parameters() if weight.dim() == 4), info.channels)
    form = FeatureInput(height=side_px or info.height, width=side_px or info.width, channels=channels, values=values)

    def extract(pixels: NDArray[Any]) -> NDArray[Any]:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                output = network(torch.from_numpy(form.prepare(pixels[start : start + _BATCH])))
                first = output[0] if isinstance(output, tuple | list) else output
                parts.append(first.flatten(1).numpy())
        return np.concatenate(parts)

    return Features(name=file.name, sha256=file_sha256(file), resizer=form.resizer(info), extract=extract)
