"""Describe models: the protocol's messages as dataclasses."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class ModelState(StrEnum):
    """State of a version of a model."""

    LOADING = "loading"
    """Being loaded, verified and warmed up."""
    READY = "ready"
    """Answers requests."""
    UNLOADING = "unloading"
    """Finishes its requests, and takes no more."""
    UNLOADED = "unloaded"
    """Is in the repository, not loaded."""
    FAILED = "failed"
    """Did not load; the reason says why."""
    UNKNOWN = "unknown"
    """Is unknown to this version of the SDK."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleShape:
    """Kind, type and shape of a sample."""

    kind: Literal["image", "vector", "unknown"]
    """An image, ready to show, or a vector."""
    dtype: Literal["uint8", "float32", "unknown"]
    """Type of each element: uint8 for images, float32 for vectors."""
    shape: tuple[int, ...]
    """(H, W, C) for images, with C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA; (D,) for vectors."""

    def __str__(self) -> str:
        return f"{self.kind} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentControl:
    """A value of the latent that a request may set by name, such as a continuous code of InfoGAN."""

    name: str
    """Its name, as in `Client.sample(controls={name: value})`."""
    index: int
    """Its position in the latent."""
    low: float
    """The least value that a request may set; without a default, the server draws from [low, high) uniformly."""
    high: float
    """The greatest value that a request may set."""
    description: str
    """Its effect on the samples."""
    default: float | None = None
    """Its value unless a request sets it; None: drawn at random."""

    def __str__(self) -> str:
        usual = "" if self.default is None else f", usually {self.default:g}"
        return f"{self.name} ({self.low:g} to {self.high:g}{usual})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """The mapping of a style-based generator: it turns a latent into one w for each layer of the synthesis."""

    layers: int
    """L, the number of layers."""
    w_dimension: int
    """W, the number of values in one w; 0 if calls can neither mix, give nor get w's."""
    default_truncation: float
    """The truncation unless a call sets it: psi, 0 to 1; 1 is none."""
    default_truncation_layers: int
    """The number of first layers that truncation acts on unless a call sets it."""
    noise_modes: tuple[Literal["seeded", "constant", "none", "unknown"], ...]
    """The noise that a call may choose, the default first; empty: no choice."""

    def __str__(self) -> str:
        truncated = "" if self.default_truncation == 1 else f", truncation {self.default_truncation:g}"
        return f"{self.layers} layers of style{truncated}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionSummary:
    """One version of a model."""

    version: int
    """Version of the model."""
    state: ModelState
    """State of the version, such as ready."""
    reason: str
    """Reason for that state; empty if obvious."""
    sample: SampleShape | None
    """Kind, type and shape of a sample; None unless the version is ready."""
    label_names: tuple[str, ...]
    """Names of the labels, in the order of their indices; empty for unconditional models, or unless ready."""
    providers: tuple[str, ...]
    """The execution providers that run it, such as "CPUExecutionProvider"."""
    has_critic: bool
    """True if it can score; False unless the version is ready."""
    controls: tuple[LatentControl, ...]
    """The values that a request may set by name; empty for most models, and unless ready."""
    style: Style | None = None
    """The mapping of a style-based generator; None if it has none, and unless ready."""
    lone_threads: int = 0
    """CPU threads of a call that runs alone, where that is faster; 0: as of other calls, or not ready."""
    lone_samples: int = 0
    """Most samples of such a call."""
    bfloat16: bool = False
    """True if samples are computed in bfloat16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSummary:
    """One model of a server."""

    name: str
    """Name of the model."""
    versions: tuple[VersionSummary, ...]
    """Its versions, ascending."""
    latest: int | None
    """The version for requests that name none: the latest that is ready; None if none is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Compares a graph with the network that it was exported from."""

    batch_sizes: tuple[int, ...]
    """Batch sizes compared."""
    max_abs_difference: float
    """Largest absolute difference of an output value: in levels (of 255) for images, else in the value's unit."""
    tolerance: float
    """Largest difference that export accepts, in the same unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphInfo:
    """One ONNX graph of a model."""

    file: str
    """File name inside the model package."""
    opset: int
    """Version of ONNX's default operator set."""
    precision: Literal["float32", "float16", "bfloat16", "unknown"]
    """Arithmetic inside the graph."""
    verification: Verification | None
    """The comparison that export made; None if the package has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Turns scores into probabilities: 1 / (1 + exp(-(slope * score + intercept of the label))).

    Such a probability is that of a sample to be real rather than this generator's.
    """

    slope: float
    """Multiplies the score."""
    intercepts: tuple[float, ...]
    """One for each label of conditional models, else one for all."""
    real_count: int
    """Held-out real samples that it was fitted on."""
    generated_count: int
    """Generated samples that it was fitted on."""
    log_loss: float
    """Mean negative log-likelihood in nats, cross-validated; 0.693 is what guessing gets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Typicality:
    """Tells samples unlike the training data apart: ranks them among held-out real samples, whatever their labels."""

    graph: GraphInfo
    """The graph that ranks samples."""
    threshold: float
    """Samples with at most this typicality are out of distribution; also the share of real samples for which that is a
    false alarm."""
    training_count: int
    """Training samples that it was fitted on."""
    real_count: int
    """Held-out real samples that it ranks samples among."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """One graph in the server: its execution providers and limits."""

    file: str
    """The graph's file name."""
    providers: tuple[str, ...]
    """The execution providers of its session, first choice first, as onnxruntime reports them."""
    nodes_by_provider: dict[str, int]
    """Nodes of the graph on each execution provider; empty if onnxruntime does not tell."""
    max_batch_size: int
    """Most samples that run in one call."""
    lone_threads: int = 0
    """CPU threads of a call that runs alone, where that is faster; 0: as of other calls."""
    lone_samples: int = 0
    """Most samples of such a call."""
    bfloat16: bool = False
    """True if it computes in bfloat16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageFile:
    """One file of a model package."""

    name: str
    """File name inside the package."""
    sha256: str
    """SHA-256 of the content, 64 lower-case hexadecimal digits."""
    size_bytes: int
    """Length in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Origin of a model package."""

    created: datetime | None
    """Time at which it was written, in UTC; None if unknown."""
    ganserve_version: str
    """Version of ganserve that wrote it."""
    libraries: dict[str, str]
    """Versions of the libraries that made it."""
    config: dict[str, Any]
    """The training configuration."""
    step: int
    """Training step of the checkpoint that was exported."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint file, 64 lower-case hexadecimal digits."""
    metrics: dict[str, float]
    """Quality metrics of the checkpoint, by name, such as "gan_test"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """One version of a model: what it makes, where it came from and how the server runs it."""

    name: str
    """Name of the model."""
    version: int
    """Version of the model."""
    sample: SampleShape
    """Kind, type and shape of a sample."""
    latent_dim: int
    """Z, the number of values in one latent."""
    latent_distribution: Literal["normal", "uniform", "unknown"]
    """Distribution of each value of a latent but the controls: N(0, 1), or uniform on [-1, 1)."""
    controls: tuple[LatentControl, ...]
    """The values of the latent that a request may set by name; empty for most models."""
    truncation_absence: str
    """Reason why truncation is refused for normal latents; empty: it is offered, or the latents are uniform."""
    label_names: tuple[str, ...]
    """Names of the labels, in the order of their indices; empty: unconditional, takes no labels."""
    generator: GraphInfo
    """The graph that draws samples."""
    critic: GraphInfo | None
    """The graph that scores samples; None: the model cannot score."""
    critic_absence: str
    """Reason why there is no critic; empty with a critic, or if unknown."""
    critic_takes_labels: bool
    """True if scores need labels; False without a critic, or if the critic ignores labels."""
    critic_loss: str | None
    """The loss that the critic was trained with, such as "relativistic-pairing"; None without a critic."""
    calibration: Calibration | None
    """Turns the critic's scores into probabilities; None without a critic."""
    typicality: Typicality | None
    """Tells samples unlike the training data apart; None if the package cannot."""
    files: tuple[PackageFile, ...]
    """The package's files, with their digests."""
    provenance: Provenance
    """Origin of the package."""
    engines: tuple[EngineInfo, ...]
    """The graphs in this server."""
    style: Style | None = None
    """The mapping of a style-based generator, whose `truncation` is psi in W; None: `truncation` restricts latents."""
    package_sha256: str = ""
    """SHA-256 of the package's manifest, 64 lower-case hexadecimal digits, as in marks of pictures; empty: unknown."""

    @property
    def conditional(self) -> bool:
        """True if the model takes labels."""
        return bool(self.label_names)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers of all graphs, each once, first choice first."""
        return tuple(dict.fromkeys(provider for engine in self.engines for provider in engine.providers))

    def __repr__(self) -> str:
        parts = [repr(self.name), f"version={self.version}", str(self.sample), f"latent_dim={self.latent_dim}"]
        if self.label_names:
            parts.append(f"{len(self.label_names)} labels")
        if self.style is not None:
            parts.append(str(self.style))
        parts += [f"control {control}" for control in self.controls]
        parts += ["no critic" if self.critic is None else f"critic of {self.critic_loss}", *self.providers]
        return f"ModelInfo({', '.join(parts)})"
