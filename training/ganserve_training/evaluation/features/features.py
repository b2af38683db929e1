"""Define features: the values of samples, or what a TorchScript network makes of samples.

N = samples, H, W, C = image, D = values of a sample, F = features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganserve_training.data.flat_values import averaged_px, flat_values
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.features.resizing import FeatureInput
from ganserve_training.evaluation.options import FeatureRange
from ganserve_training.files import file_sha256

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """A way to compute features, with what a report says about it: other features give other figures."""

    name: str
    """Name such as pixels or classifier, or the file's name."""
    sha256: str | None
    """Digest of the network's file or weights; None: no network."""
    resizer: str
    """Description of how images are resized for the network."""
    extract: Callable[[NDArray[Any]], NDArray[Any]]
    """Samples uint8 [N, H, W, C] or float32 [N, D] -> features float [N, F]."""


def batches(samples: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    """Yield up to `size` samples at a time."""
    return (samples[start : start + size] for start in range(0, len(samples), size))


def plain_features(info: DataInfo) -> Features:
    """Return the values themselves: images averaged down to at most 31 pixels a side, or standardised vectors."""
    down, right = averaged_px(info) if info.is_image else (1, 1)
    resizer = "none" if (down, right) == (1, 1) else f"average over {down} x {right} pixels"
    name = "pixels" if info.is_image else "values"
    return Features(name=name, sha256=None, resizer=resizer, extract=lambda samples: flat_values(samples, info))


def torchscript_features(file: Path, info: DataInfo, *, side_px: int | None, values: FeatureRange) -> Features:
    """Return features: the first output, flattened, of a network saved by `torch.jit.save`.

    It takes float32 [N, C, H, W]: its first convolution decides C, and `side_px` H and W (default: as in the data).
    Raise ConfigError if the data are not images, or the file is not TorchScript.
    """
    if not info.is_image:
        raise ConfigError(f"features {file}: needs images, and the data are vectors. Use features values")
    try:
        network = torch.jit.load(str(file), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{file} is not a TorchScript network: save it with torch.jit.save ({error})") from error
    channels = next((int(weight.shape[1]) for weight in network.parameters() if weight.dim() == 4), info.channels)
    form = FeatureInput(height=side_px or info.height, width=side_px or info.width, channels=channels, values=values)

    @torch.inference_mode()
    def run(pixels: NDArray[Any]) -> NDArray[Any]:
        output = network(torch.from_numpy(form.prepare(pixels)))
        first: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
        return first.flatten(1).numpy()

    def extract(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([run(batch) for batch in batches(pixels, _BATCH)])

    return Features(name=file.name, sha256=file_sha256(file), resizer=form.resizer(info), extract=extract)
