"""The models as graphs with named tensors: what a protocol sees that knows tensors and no GANs.

N = samples, Z = values of one latent, D = values of a vector.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

import numpy as np

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import FailedPreconditionError, FieldViolation, InvalidRequestError, RequestError
from ganserve_server.requests.validation import shown

if TYPE_CHECKING:
    from ganserve_server.models.model import Model
    from ganserve_server.models.package import ModelInfo
    from ganserve_server.models.repository import Repository
    from ganserve_server.queue.statistics import GraphStatistics

CRITIC_SUFFIX = ".critic"

# numpy has no bfloat16: two bytes that no tensor here is made of.
DATATYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        "BF16": "V2",
    }.items()
}
"""Element types by the names that the Open Inference Protocol has for them."""
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def datatype(dtype: np.dtype[np.generic]) -> str:
    """Return the protocol's name of an element type."""
    return _NAMES.get(dtype.newbyteorder("<"), str(dtype))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: np.dtype[np.generic]
    sample_shape: tuple[int, ...] = ()
    """Shape without the batch axis."""
    optional: bool = False
    """Inputs: whether requests may leave it out."""
    by_default: bool = True
    """Outputs: whether it is returned where a request names none."""

    def __str__(self) -> str:
        return f"{datatype(self.dtype)} [{', '.join(['N', *map(str, self.sample_shape)])}]"

    @property
    def sample_bytes(self) -> int:
        """Length of one sample's part in bytes."""
        return math.prod(self.sample_shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The generator or the critic of one version of a model that is ready."""

    model: Model
    is_critic: bool

    @property
    def name(self) -> str:
        """The model's name, and a suffix if it is the critic."""
        return self.model.info.name + (CRITIC_SUFFIX if self.is_critic else "")

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What requests may give."""
        info = self.model.info
        if self.is_critic:
            return (_samples(info), *([_labels()] if info.critic_takes_labels else []))
        seeds = Port(name="seeds", dtype=DATATYPES["UINT64"], optional=True)
        return (_latents(info, optional=True), seeds, *([_labels(optional=True)] if info.label_names else []))

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What requests may ask for."""
        if self.is_critic:
            return tuple(Port(name=name, dtype=DATATYPES["FP32"]) for name in ("scores", "probabilities"))
        info = self.model.info
        labels = [_labels(by_default=False)] if info.label_names else []
        return (_samples(info), _latents(info, by_default=False), *labels)

    @property
    def statistics(self) -> GraphStatistics:
        """What was done for it since it was loaded."""
        batcher = self.model.critic if self.is_critic else self.model.generator
        assert batcher is not None, "there is no graph of a critic that is not there"
        return batcher.statistics

    @property
    def engine(self) -> gan_service_pb2.EngineInfo:
        """How it is run."""
        return self.model.engine_infos()[self.is_critic]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GraphState:
    """One version of a graph, ready or not."""

    name: str
    version: int
    state: gan_service_pb2.ModelState.ValueType
    reason: str


class Graphs:
    """The graphs of a repository: the generator of a model is called `<model>`, its critic `<model>.critic`.

    A model whose own name ends in `.critic` keeps its name; the critic of a model that would be called the same has no
    name then, and answers to GanService only.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def resolve(self, name: str, version: str) -> Graph:
        """Return the graph that a request means.

        Args:
            name: Its name; empty for the generator of the only model that is served.
            version: A positive integer; empty for the latest that is ready.

        Raises:
            InvalidRequestError: The version is no positive integer, or there is no name and more than one model.
            NotFoundError: No such model or version.
            FailedPreconditionError: The version could not be loaded, or has no critic.
            UnavailableError: The version is being loaded or unloaded.
        """
        number = version_number(version)
        owner = self._critics_model(name)
        if owner is None:
            return Graph(model=self._repository.resolve(name, number, field="model_name"), is_critic=False)
        model = self._repository.resolve(owner, number, field="model_name")
        if model.critic is None:
            reason = model.info.critic_absence or "export it with its critic"
            raise FailedPreconditionError(f"version {model.info.version} of model {owner!r} has no critic: {reason}")
        return Graph(model=model, is_critic=True)

    def is_ready(self, name: str, version: str) -> bool:
        """Tells whether `resolve` would return a graph."""
        try:
            self.resolve(name, version)
        except RequestError:
            return False
        return True

    def ready(self, name: str = "", version: str = "") -> list[Graph]:
        """Return the graphs that are ready: all of them, those of one name, or one version of one name.

        Raises:
            RequestError: As `resolve`, if a name is given.
        """
        wanted = self.resolve(name, version) if name else None
        states = [state for state in self.states() if state.state == gan_service_pb2.MODEL_STATE_READY]
        if wanted is not None:
            states = [state for state in states if state.name == wanted.name]
            if version:
                states = [state for state in states if state.version == wanted.model.info.version]
        # Between the two looks a version may have gone.
        return [
            self.resolve(state.name, str(state.version))
            for state in states
            if self.is_ready(state.name, str(state.version))
        ]

    def states(self) -> list[GraphState]:
        """Describe every version of every graph; critics only of versions that are ready."""
        summaries = self._repository.summaries()
        names = {summary.name for summary in summaries}
        states = []
        for summary in summaries:
            critic = summary.name + CRITIC_SUFFIX
            for version in summary.versions:
                called = [summary.name, *([critic] if version.has_critic and critic not in names else [])]
                states += [
                    GraphState(name=name, version=version.version, state=version.state, reason=version.reason)
                    for name in called
                ]
        return states

    def model_name(self, name: str) -> str:
        """Return the name of a whole model, to be loaded or unloaded.

        Raises:
            InvalidRequestError: It is empty, or a critic's.
        """
        owner = self._critics_model(name)
        if owner is not None:
            raise _invalid("model_name", f"is {shown(name)}, a part of model {owner!r}: load and unload that")
        if not name:
            raise _invalid("model_name", "is empty; expected the name of a model")
        return name

    def _critics_model(self, name: str) -> str | None:
        """Return the model whose critic has this name; None if it is a model's own name."""
        owner = name.removesuffix(CRITIC_SUFFIX)
        if owner in {name, ""}:
            return None
        known = self._repository.names()
        return owner if owner in known and name not in known else None


def version_number(version: str) -> int:
    """Return the number of a version, 0 for the latest.

    Raises:
        InvalidRequestError: It is none.
    """
    if not version:
        return 0
    if not _VERSION.fullmatch(version):
        raise _invalid(
            "model_version", f"is {shown(version)}; expected a positive integer such as '1', or '' for the latest"
        )
    return int(version)


def _invalid(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError([FieldViolation(field, description)])


def _samples(info: ModelInfo) -> Port:
    return Port(name="samples", dtype=info.sample_dtype, sample_shape=info.sample_shape)


def _latents(info: ModelInfo, *, optional: bool = False, by_default: bool = True) -> Port:
    shape = (info.latent_dimension,)
    return Port(name="latents", dtype=DATATYPES["FP32"], sample_shape=shape, optional=optional, by_default=by_default)


def _labels(*, optional: bool = False, by_default: bool = True) -> Port:
    return Port(name="labels", dtype=DATATYPES["INT64"], optional=optional, by_default=by_default)
