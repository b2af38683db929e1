"""Options that say how to read ONNX files that were made elsewhere; the options of `ganserve package`, too."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ganserve._command_framework.options import flag
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.from_onnx.graph_constants import read_constants

PixelRange = Literal["-1..1", "0..1", "0..255"]
VideoForm = Literal["strip", "frames"]
OutputKind = Literal["auto", "score", "probability"]
_MOST_PIXELS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """Choices for reading ONNX files that were made elsewhere. A name that is None is found by type and shape."""

    label_names: tuple[str, ...] = flag((), flag=False)
    """Names of the labels that the generator takes, in the order of their indices; empty: it takes none."""
    range: PixelRange | None = None
    """Values of black and white, if images are floats and neither the last operation nor the values show them."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """Layout of the generator's images. auto: the axis of 1 to 4 is the channels."""
    shape: str | None = flag(None, metavar="HxWxC")
    """Shape of the images, if the generator gives their values in one row, such as 28x28x1."""
    video: VideoForm = "strip"
    """Form of videos. strip: images with all frames side by side. frames: one frame, which the control `frame`
    chooses."""
    batch: Literal["auto", "one"] = "auto"
    """one: compute each sample alone, for networks whose results depend on the rest of the batch."""
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """Distribution of latents: standard normal, or uniform on [-1, 1)."""
    latents: str | None = flag(None, metavar="NAME[,NAME]")
    """Name of the generator's input for latents, if it is unclear; several are joined in this order."""
    labels_input: str | None = flag(None, metavar="NAME")
    """Name of the generator's input for labels: integers [N] or [N, 1], or one-hot [N, K]."""
    labels_at: int | None = None
    """Place of the first label in the latents, if the labels are one-hot values inside them."""
    control: tuple[str, ...] = flag((), metavar="NAME=LOW..HIGH[:DEFAULT]")
    """An input that requests may set by name; without a default it is drawn uniformly. Repeat it for several."""
    truncation_input: str | None = flag(None, metavar="NAME[=DEFAULT]")
    """The generator's input for the truncation psi in W, 0 to 1, which requests set as their truncation. DEFAULT
    applies unless they do; without it, 1."""
    constant: tuple[str, ...] = flag((), metavar="NAME=VALUE")
    """An input of either network that always has this value, or values such as 0,0,1. Repeat it for several."""
    noise_input: tuple[str, ...] = flag((), metavar="NAME[=normal|uniform]")
    """An input for noise, if it is unclear: standard normal, or uniform on [0, 1). Repeat it for several."""
    noise: Literal["seeded", "constant", "none"] = "seeded"
    """Noise that the generator takes or draws. seeded: it follows from the latents. constant: always the same."""
    output: str | None = flag(None, metavar="NAME")
    """Name of the generator's output."""
    critic_samples: str | None = flag(None, metavar="NAME")
    """Name of the critic's input for samples."""
    critic_labels: str | None = flag(None, metavar="NAME")
    """Name of the critic's input for labels."""
    critic_scores: str | None = flag(None, metavar="NAME")
    """Name of the critic's output."""
    critic_output: OutputKind = "auto"
    """Meaning of the critic's output. auto: a probability if it ends in a sigmoid, else a score."""
    score_higher: Literal["auto", "real", "generated"] = "auto"
    """Samples that get the higher outputs from the critic. auto: what --data clearly show; without data, real."""
    data: str | None = flag(None, metavar="SOURCE|PATH")
    """Real data (a source such as digits, or a path) that calibrate probabilities and show what is typical. Default:
    sigmoid of the score, and samples unlike the data are not found."""

    @property
    def constants(self) -> dict[str, str]:
        """Return the constants' values by the names of inputs; raise BadUsageError if one cannot be read."""
        return read_constants(self.constant)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Return H, W and C of `shape`; raise BadUsageError if it cannot be read."""
        if self.shape is None:
            return None
        match = re.fullmatch(r"(\d+)[xX](\d+)(?:[xX](\d+))?", self.shape)
        height, width, channels = map(int, (match[1], match[2], match[3] or 1)) if match else (0, 0, 0)
        if not (0 < height <= _MOST_PIXELS and 0 < width <= _MOST_PIXELS and 1 <= channels <= 4):
            raise BadUsageError(f"--shape {self.shape}: expected height, width and 1 to 4 channels, such as 28x28x1")
        return height, width, channels

    def check(self, critic_file: Path | None) -> None:
        """Raise ExportError if labels are empty or repeated, or if an option concerns a critic and there is none."""
        if len(set(self.label_names)) != len(self.label_names) or not all(self.label_names):
            raise ExportError("--labels must be distinct and not empty")
        if self.labels_at is not None and not self.label_names:
            raise BadUsageError(f"--labels-at {self.labels_at}: the labels have no names. Add --labels")
        if self.labels_at is not None and self.labels_input is not None:
            raise BadUsageError("--labels-at: the labels have an input of their own, --labels-input. Give one of both")
        if critic_file is None:
            for name in ("data", "critic_samples", "critic_labels", "critic_scores", "critic_output", "score_higher"):
                if getattr(self, name) != getattr(OnnxOptions(), name):
                    flag = f"--{name.replace('_', '-')}"
                    remedy = f"Give its file after the generator's, or leave {flag} out"
                    raise ExportError(f"{flag} {getattr(self, name)}: there is no critic. {remedy}")
