"""Draw the pictures in a run's samples/: the averaged generator's samples from the same latents each time."""

from pathlib import Path

import numpy as np
from PIL import Image

from ganserve_training.data import Samples
from ganserve_training.pictures.grids import sample_grid, save_picture, save_sample_grid
from ganserve_training.pictures.scatter import ScatterView
from ganserve_training.run.trained_model import draw_samples
from ganserve_training.run.training_step import Trainer

GRID_COLUMNS = 10
GRID_SEED = 0
_MOST_ROWS = 32  # Further labels are not drawn.
_UNLABELLED_ROWS = 5
_POINTS = 1000


class ProgressPictures:
    """Pictures of one run, drawn from its trainer; `train` are the training samples."""

    def __init__(self, trainer: Trainer, train: Samples) -> None:
        self._trainer = trainer
        self._train = train
        self._info = train.info
        self._view = None
        if not self._info.is_image:
            self._view = ScatterView(train.read(np.arange(min(len(train), _POINTS))))

    def save(self, folder: Path) -> Image.Image:
        """Write and return a grid of images, one row a label, or a scatter plot of vectors over the real ones."""
        trainer, names = self._trainer, len(self._trainer.label_names)
        if self._view is not None:
            labels = np.arange(_POINTS, dtype=np.int64) % names if names else None
            count = _POINTS
        else:
            rows = self._rows
            labels = np.repeat(np.arange(rows, dtype=np.int64), GRID_COLUMNS) if names else None
            count = rows * GRID_COLUMNS
        samples = draw_samples(trainer.ema.module, trainer.prior, self._info, labels, count, seed=GRID_SEED)
        picture = (
            sample_grid(samples, GRID_COLUMNS, self._row_names) if self._view is None else self._view.draw(samples)
        )
        # A plot of points is a figure about samples, not a generated picture.
        save_picture(folder / f"step-{trainer.step:08d}.png", picture, generated=self._view is None)
        return picture

    def save_real(self, path: Path) -> None:
        """Write a grid of training images like that of `save`; pictures of vectors show real points anyway."""
        if self._view is not None:
            return
        train, labels = self._train, self._train.labels
        by_label = labels is not None and self._trainer.label_names == train.label_names
        shown = np.random.default_rng(GRID_SEED).permutation(len(train))
        chosen = []
        for row in range(self._rows):
            members = shown[labels[shown] == row] if by_label and labels is not None else shown[row * GRID_COLUMNS :]
            chosen.append(np.resize(members if len(members) else shown, GRID_COLUMNS))
        save_sample_grid(path, train.read(np.concatenate(chosen)), GRID_COLUMNS, self._row_names, generated=False)

    @property
    def _rows(self) -> int:
        names = len(self._trainer.label_names)
        return min(names, _MOST_ROWS) if names else _UNLABELLED_ROWS

    @property
    def _row_names(self) -> tuple[str, ...]:
        """Return the names of labels, one a row; empty: rows are not labels."""
        return self._trainer.label_names[: self._rows]
