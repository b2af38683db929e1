"""Turn a manifest into the facts that requests need, and check that it does not contradict itself."""

import math
import re
from dataclasses import dataclass

import numpy as np

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_server.error_text import enum_name, listed
from ganserve_server.errors import PackageError
from ganserve_server.models.latent_types import Control, Distribution
from ganserve_server.models.style import Style, read_style

_CONTROL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
MAX_SAMPLE_BYTES = 256 * 2**20
"""Most bytes of one raw sample: an answer holds no larger one."""
_MAX_LATENTS, _MAX_LABELS = 2**16, 2**17
_LABEL_OVERHEAD_BYTES = 11  # the name's tag (1) and length (up to 5), and the index (up to 5)
_DISTRIBUTIONS = {
    model_spec_pb2.LATENT_DISTRIBUTION_NORMAL: Distribution.NORMAL,
    model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM: Distribution.UNIFORM,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """The facts about a model that requests need."""

    name: str
    version: int
    sample_shape: tuple[int, ...]
    """[H, W, C] for images, [D] for vectors."""
    sample_dtype: np.dtype[np.generic]
    """Little-endian uint8 or float32."""
    sample_data_type: tensor_pb2.DataType.ValueType
    latent_dimension: int
    """Z."""
    distribution: Distribution
    """Distribution of each latent value except controls."""
    controls: dict[str, Control]
    """Latent values that a request may set, by name."""
    truncation_absence: str
    """The manifest's reason for refusing truncation; empty if it is offered."""
    style: Style | None
    """The mapping of a style-based generator; None: truncation means that of latents."""
    label_names: tuple[str, ...]
    """Ordered by index; empty for unconditional models."""
    label_indices: dict[str, int]
    """Index of each label name."""
    critic_takes_labels: bool
    """True if scores need labels: both the model and its critic are conditional."""
    critic_absence: str
    """The manifest's reason for a missing critic."""
    atypical_until: np.float32 | None
    """Samples with at most this typicality are out of distribution; None if the package has no typicality."""
    sample_bytes: int
    """Size of one raw sample."""
    label_bytes: int
    """Most bytes of one sample's label in a message: index, name and their lengths; 0 if unconditional."""

    def __str__(self) -> str:
        return f"version {self.version} of model {self.name!r}"


def read_model_info(spec: model_spec_pb2.ModelSpec) -> ModelInfo:
    """Return the facts of a manifest; raise PackageError if it contradicts itself, or a value is out of range."""
    sample, shape = spec.sample, tuple(spec.sample.shape)
    if sample.kind == model_spec_pb2.SAMPLE_KIND_IMAGE:
        expected_type, axes = tensor_pb2.DATA_TYPE_UINT8, "[H, W, C] with C from 1 to 4"
        fits = len(shape) == 3 and shape[2] <= 4
    elif sample.kind == model_spec_pb2.SAMPLE_KIND_VECTOR:
        expected_type, axes, fits = tensor_pb2.DATA_TYPE_FLOAT32, "[D]", len(shape) == 1
    else:
        kind = enum_name(model_spec_pb2.SampleKind, sample.kind)
        raise PackageError(f"sample.kind is {kind}; expected IMAGE or VECTOR")
    if not fits or not all(shape):
        raise PackageError(f"sample.shape is [{listed(shape)}]; expected {axes}, every extent at least 1")
    sample_dtype = np.dtype("<u1" if expected_type == tensor_pb2.DATA_TYPE_UINT8 else "<f4")
    sample_bytes = math.prod(shape) * sample_dtype.itemsize
    if sample_bytes > MAX_SAMPLE_BYTES:
        raise PackageError(f"sample.shape is {list(shape)}, {sample_bytes} bytes; expected at most {MAX_SAMPLE_BYTES}")
    if sample.data_type != expected_type:
        found, wanted = (enum_name(tensor_pb2.DataType, value) for value in (sample.data_type, expected_type))
        raise PackageError(f"sample.data_type is {found}; expected {wanted} for samples of shape {axes}")
    if not 1 <= spec.latent.dimension <= _MAX_LATENTS:
        raise PackageError(f"latent.dimension is {spec.latent.dimension}; expected 1 to {_MAX_LATENTS}")
    if spec.latent.distribution not in _DISTRIBUTIONS:
        distribution = enum_name(model_spec_pb2.LatentDistribution, spec.latent.distribution)
        raise PackageError(f"latent.distribution is {distribution}; expected NORMAL or UNIFORM")
    if len(spec.label_names) > _MAX_LABELS:
        raise PackageError(f"label_names has {len(spec.label_names)} entries; expected at most {_MAX_LABELS}")
    labels = {name: index for index, name in enumerate(spec.label_names)}
    if len(labels) != len(spec.label_names) or "" in labels:
        raise PackageError(f"label_names must be distinct and not empty; got {listed(spec.label_names, repr)}")
    _check_calibration(spec)
    return ModelInfo(
        name=spec.name,
        version=spec.version,
        sample_shape=shape,
        sample_dtype=sample_dtype,
        sample_data_type=expected_type,
        latent_dimension=spec.latent.dimension,
        distribution=_DISTRIBUTIONS[spec.latent.distribution],
        controls=_controls(spec.latent),
        truncation_absence=spec.latent.truncation_absence,
        style=read_style(spec),
        label_names=tuple(spec.label_names),
        label_indices=labels,
        critic_takes_labels=bool(labels) and not spec.score.label_free,
        critic_absence=spec.critic_absence,
        atypical_until=_threshold(spec),
        sample_bytes=sample_bytes,
        label_bytes=max((len(name.encode()) + _LABEL_OVERHEAD_BYTES for name in labels), default=0),
    )


def _check_calibration(spec: model_spec_pb2.ModelSpec) -> None:
    if not spec.score.HasField("calibration"):
        return
    calibration = spec.score.calibration
    expected = max(1, len(spec.label_names)) if not spec.score.label_free else 1
    if len(calibration.intercepts) != expected:
        raise PackageError(
            f"score.calibration has {len(calibration.intercepts)} intercepts; expected {expected}: one for each label "
            "that the critic takes, one for all where it takes none"
        )
    if not all(map(math.isfinite, (calibration.slope, *calibration.intercepts))):
        raise PackageError("score.calibration has numbers that are not finite: export again")


def _threshold(spec: model_spec_pb2.ModelSpec) -> np.float32 | None:
    if not spec.HasField("typicality"):
        return None
    if not spec.HasField("critic"):
        raise PackageError("the manifest has a typicality and no critic, which scoring needs: export again")
    if not 0 < spec.typicality.threshold < 1:
        raise PackageError(f"typicality.threshold is {spec.typicality.threshold:g}; expected more than 0, less than 1")
    return np.float32(spec.typicality.threshold)


def _controls(latent: model_spec_pb2.LatentSpec) -> dict[str, Control]:
    controls: dict[str, Control] = {}
    indices: set[int] = set()
    for control in latent.controls:
        where = f"latent.controls has {control.name!r}"
        if not _CONTROL_NAME.fullmatch(control.name):
            raise PackageError(
                f"{where}; a control's name is a letter or underscore, then at most 63 letters, digits, '_', '.' or '-'"
            )
        if control.name in controls or control.index in indices:
            raise PackageError(f"{where} with index {control.index}; names and indices must be distinct")
        if control.index >= latent.dimension:
            raise PackageError(f"{where} with index {control.index}; expected 0 to {latent.dimension - 1}")
        if not (math.isfinite(control.low) and math.isfinite(control.high) and control.low < control.high):
            raise PackageError(f"{where} with the range {control.low:g} to {control.high:g}; expected low below high")
        default = control.default if control.HasField("default") else None
        if default is not None and not control.low <= default <= control.high:
            raise PackageError(f"{where} with the default {default:g}; expected {control.low:g} to {control.high:g}")
        indices.add(control.index)
        controls[control.name] = Control(control.name, control.index, control.low, control.high, default)
    return controls
