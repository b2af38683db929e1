"""TensorBoard's event files, for those who have it open anyway; the JSON lines hold the same numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.errors import ConfigError


class TensorBoardLog:
    """Writes a run's numbers, findings and pictures.

    Args:
        folder: Where the event files go.
        resumed_step: What was written of later steps is dropped by TensorBoard.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, resumed_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "--output.tensorboard needs the package tensorboard, which is not installed: pip install tensorboard"
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=resumed_step + 1)

    def record(self, step: int, record: Mapping[str, Any]) -> None:
        """A line of log.jsonl."""
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(f"training/{name}", value, step)

    def observation(self, observation: Observation) -> None:
        """What a look saw."""
        for name, value in observation.to_dict().items():
            if isinstance(value, float):
                self._writer.add_scalar(f"diagnosis/{name}", value, observation.step)
        self._writer.add_scalar("diagnosis/regions_reached", observation.regions_reached, observation.step)

    def finding(self, finding: Finding) -> None:
        """What a diagnosis says."""
        self._writer.add_text("diagnosis", str(finding), finding.step)

    def picture(self, step: int, picture: Image.Image) -> None:
        """What the generator makes."""
        self._writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
