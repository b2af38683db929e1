"""Write TensorBoard's event files; the JSON lines hold the same numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.errors import ConfigError


class TensorBoardLog:
    """Write a run's numbers, findings and pictures; TensorBoard drops those after `resumed_step`."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "--output.tensorboard: needs the package tensorboard, which is not installed. pip install tensorboard."
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=resumed_step + 1)

    def record(self, step: int, record: Mapping[str, Any]) -> None:
        """Write a line of log.jsonl."""
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(f"training/{name}", value, step)

    def observation(self, observation: Observation) -> None:
        """Write an observation of the diagnosis."""
        for name, value in observation.to_dict().items():
            if isinstance(value, float):
                self._writer.add_scalar(f"diagnosis/{name}", value, observation.step)
        self._writer.add_scalar("diagnosis/regions_reached", observation.regions_reached, observation.step)

    def finding(self, finding: Finding) -> None:
        """Write a finding of the diagnosis."""
        self._writer.add_text("diagnosis", str(finding), finding.step)

    def picture(self, step: int, picture: Image.Image) -> None:
        """Write a picture of samples."""
        self._writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        self._writer.close()
