"""Draw preview.png: samples of the package, made by the published graph itself."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.onnx_graphs import open_on_cpu
from ganserve_training.pictures.grids import save_sample_grid
from ganserve_training.pictures.scatter import ScatterView

COLUMNS = 10
MAX_ROWS = 20  # of hundreds of labels, show the first
POINTS = 2500
SEED = 0


def write_preview(picture: Path, generator: Path, prior: LatentValues, label_count: int) -> None:
    """Draw images, one row per label (10 rows without labels), or vectors of two values as dots on white.

    Vectors of another length get no picture. The preview shows no sample of the training data.
    """
    session = open_on_cpu(generator)
    is_image = session.get_outputs()[0].type == "tensor(uint8)"
    if is_image:
        labels = np.repeat(np.arange(min(label_count, MAX_ROWS) or COLUMNS), COLUMNS)
    else:
        labels = np.arange(POINTS) % max(label_count, 1)
    latents = prior.draw(len(labels), torch.Generator().manual_seed(SEED), at_defaults=True).numpy()
    inputs: dict[str, npt.NDArray[np.generic]] = {"latents": latents}
    if label_count:
        inputs["labels"] = labels
    (samples,) = session.run(None, inputs)
    if is_image:
        save_sample_grid(picture, samples, COLUMNS)
    elif samples.shape[1] == 2:
        ScatterView(samples).draw(samples).save(picture, format="PNG")
