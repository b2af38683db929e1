"""Options that say how to understand ONNX files that were made elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.pixels import PixelRange

OutputKind = Literal["auto", "score", "probability"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """Choices for reading ONNX files that were made elsewhere."""

    label_names: tuple[str, ...] = ()
    """Names of the labels that the generator takes, in the order of their indices; empty: it takes none."""
    range: PixelRange | None = None
    """Values of black and white, for float images."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """Layout of the generator's images; auto: by the number of channels."""
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """Distribution of the latents: standard normal, or uniform on [-1, 1)."""
    latents: str | None = None
    """Name of the generator's input for latents; None here and in the names below: found by type and shape."""
    labels_input: str | None = None
    """Name of the generator's input for labels."""
    output: str | None = None
    """Name of the generator's output."""
    critic_samples: str | None = None
    """Name of the critic's input for samples."""
    critic_labels: str | None = None
    """Name of the critic's input for labels."""
    critic_scores: str | None = None
    """Name of the critic's output."""
    critic_output: OutputKind = "auto"
    """Meaning of the critic's output; auto: a probability if it ends in a sigmoid, else a score."""
    score_higher: Literal["real", "generated"] = "real"
    """Samples to which the critic gives higher outputs."""
    data: str | None = None
    """Real data to calibrate the critic's probabilities with: a source, or the path of a file or folder."""

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
