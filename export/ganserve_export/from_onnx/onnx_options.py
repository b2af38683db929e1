"""Options that say how to read ONNX files that were made elsewhere; the options of `ganserve package`, too."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ganserve._command_line.options import flag
from ganserve_export.errors import ExportError

PixelRange = Literal["-1..1", "0..1", "0..255"]
OutputKind = Literal["auto", "score", "probability"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """Choices for reading ONNX files that were made elsewhere. A name that is None is found by type and shape."""

    label_names: tuple[str, ...] = flag((), flag=False)
    """Names of the labels that the generator takes, in the order of their indices; empty: it takes none."""
    range: PixelRange | None = None
    """Values of black and white, if images are floats."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """Layout of the generator's images. auto: the axis of 1 to 4 is the channels."""
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """Distribution of latents: standard normal, or uniform on [-1, 1)."""
    latents: str | None = flag(None, metavar="NAME")
    """Name of the generator's input for latents, if it is unclear."""
    labels_input: str | None = flag(None, metavar="NAME")
    """Name of the generator's input for labels: integers [N] or [N, 1], or one-hot [N, K]."""
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
    score_higher: Literal["real", "generated"] = "real"
    """Samples that get the higher outputs from the critic."""
    data: str | None = flag(None, metavar="SOURCE|PATH")
    """Real data (a source such as digits, or a path) that calibrate probabilities and show what is typical. Default:
    sigmoid of the score, and samples unlike the data are not found."""

    def check(self, critic_file: Path | None) -> None:
        """Raise ExportError if labels are empty or repeated, or if an option concerns a critic and there is none."""
        if len(set(self.label_names)) != len(self.label_names) or not all(self.label_names):
            raise ExportError("--labels must be distinct and not empty")
        if critic_file is None:
            for name in ("data", "critic_samples", "critic_labels", "critic_scores", "critic_output", "score_higher"):
                if getattr(self, name) != getattr(OnnxOptions(), name):
                    flag = f"--{name.replace('_', '-')}"
                    remedy = f"Give its file after the generator's, or leave {flag} out"
                    raise ExportError(f"{flag} {getattr(self, name)}: there is no critic. {remedy}")
