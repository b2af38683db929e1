"""Draw preview.png: samples of the package, made by the published graph itself."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ganserve.v1 import model_spec_pb2
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.onnx_graphs import open_on_cpu
from ganserve_export.package.rows_at_once import rows_at_once
from ganserve_export.package.style_inputs import default_style_inputs
from ganserve_training.pictures.grids import save_sample_grid
from ganserve_training.pictures.scatter import ScatterView

COLUMNS = 10
MOST_VALUES = 2**22  # of large images, which take seconds each, fewer are drawn
MAX_ROWS = 20  # of hundreds of labels, show the first
POINTS = 2500
SEED = 0


def write_preview(
    picture: Path,
    generator: Path,
    prior: LatentValues,
    label_count: int,
    style: model_spec_pb2.StyleSpec | None = None,
) -> None:
    """Draw images, one row per label (10 rows without labels; fewer large ones), or vectors of two values as dots.

    Vectors of another length get no picture. The preview shows no sample of the training data.
    """
    session = open_on_cpu(generator)
    is_image = session.get_outputs()[0].type == "tensor(uint8)"
    columns, rows = COLUMNS, POINTS
    if is_image:
        values = math.prod(session.get_outputs()[0].shape[1:])
        columns = max(1, min(COLUMNS, math.isqrt(MOST_VALUES // values)))
        rows = rows_at_once(values)
        most = MAX_ROWS if columns == COLUMNS else columns
        labels = np.repeat(np.arange(min(label_count, most) or columns), columns)
    else:
        labels = np.arange(POINTS) % max(label_count, 1)
    latents = prior.draw(len(labels), torch.Generator().manual_seed(SEED), at_defaults=True).numpy()
    inputs: dict[str, npt.NDArray[np.generic]] = {"latents": latents}
    if label_count:
        inputs["labels"] = labels
    if style is not None:
        inputs |= default_style_inputs(style, latents)
    samples = np.concatenate(
        [
            session.run(
                [session.get_outputs()[0].name], {name: given[start : start + rows] for name, given in inputs.items()}
            )[0]
            for start in range(0, len(labels), rows)
        ]
    )
    if is_image:
        save_sample_grid(picture, samples, columns, generated=True)
    elif samples.shape[1] == 2:
        ScatterView(samples).draw(samples).save(picture, format="PNG")
