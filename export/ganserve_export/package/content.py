"""Describe what goes into a package before it is built, and what came out. Z = latent, H, W, C = image, D = vector."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import Tensor

from ganserve.v1 import model_spec_pb2
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.random_inputs import InputMaker
from ganserve_export.package.verification import Difference
from ganserve_export.typicality.typicality import Typicality
from ganserve_training import DataInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphToWrite:
    """A graph to write, and the original that it must agree with."""

    make: Callable[[], onnx.ModelProto]
    """Makes the graph; this may take minutes."""
    original: Callable[..., Tensor | tuple[Tensor, ...]]
    """A module in eval mode, or anything that is called with the inputs by position."""
    make_inputs: InputMaker
    """Draws random inputs to compare both on."""
    original_name: str = "PyTorch"
    """Name of the original in messages."""
    is_half: bool = False
    """True if either side rounds to 16 bits, so that larger differences are allowed."""
    tolerance: float | None = None
    """Largest difference allowed; None: by the size of the values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticToWrite:
    """A critic to write."""

    graph: GraphToWrite
    loss: str
    """Name of the loss that it was trained with."""
    takes_labels: bool
    calibration: LogisticCalibration
    """Turns its scores into probabilities; part of its graph."""
    typicality: Typicality | None
    """Tells samples unlike the training data apart; None: too little real data to fit it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageContent:
    """Everything that a package is built from."""

    data: DataInfo
    """Form of a sample."""
    prior: LatentValues
    """Distribution of the latents."""
    label_names: tuple[str, ...]
    """Names of the labels that the generator takes; empty: it takes none."""
    generator: GraphToWrite
    critic: CriticToWrite | str
    """The critic, or the reason why the package has none."""
    provenance: model_spec_pb2.Provenance
    """Origin of the model."""
    style: model_spec_pb2.StyleSpec | None = None
    """Inputs of a style-based generator's graph, which also gives its w's; None: it isn't one."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published package, and how it was verified."""

    folder: Path
    """The package, <repository>/<name>/<version>."""
    name: str
    version: int
    generator: Difference
    """Difference between the generator's graph and its original."""
    critic: Difference | None
    """Difference between the critic's graph and its original; None: the package has no critic."""
    calibration: LogisticCalibration | None
    """Calibration of the critic's probabilities; None: there is no critic, or too little real data to calibrate it."""
    typicality: Difference | None
    """Difference between the typicality's graph and its original; None: there is no critic, or too little real data."""
    truncation_absence: str
    """Reason why truncation is refused although the latents are normal; empty: it is offered."""
