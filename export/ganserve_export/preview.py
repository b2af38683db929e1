"""preview.png: what a package makes, one row a label, drawn by the published graph itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from ganserve_training.grids import save_sample_grid

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_training import DataInfo

COLUMNS = 10
MAX_ROWS = 20  # the first labels stand for all where there are hundreds
SEED = 0


def write_preview(picture: Path, generator: Path, data: DataInfo, latent_dim: int) -> None:
    """Draws 10 samples of each label (or 10 rows of an unconditional model) and writes them as one PNG.

    Args:
        picture: Where the PNG goes.
        generator: The package's generator graph.
        data: Shape and label names of the samples.
        latent_dim: Z.
    """
    rows = min(len(data.label_names), MAX_ROWS) or COLUMNS
    latents = np.random.default_rng(SEED).standard_normal((rows * COLUMNS, latent_dim), dtype=np.float32)
    inputs = {"latents": latents}
    if data.label_names:
        inputs["labels"] = np.repeat(np.arange(rows), COLUMNS)
    session = ort.InferenceSession(str(generator), providers=["CPUExecutionProvider"])
    (pixels,) = session.run(None, inputs)
    save_sample_grid(picture, pixels, COLUMNS)
