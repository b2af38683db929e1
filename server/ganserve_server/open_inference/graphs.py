"""Present models as graphs with named inputs and outputs.

N = samples, Z = values of one latent, L = layers, W = values of one w.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.engine import TensorSpec
from ganserve_server.error_text import shown
from ganserve_server.errors import FailedPreconditionError, RequestError, invalid_field
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import Model
from ganserve_server.models.repository import Repository
from ganserve_server.queue.statistics import GraphStatistics

CRITIC_SUFFIX = ".critic"

# numpy has no bfloat16; no tensor here has it, so two opaque bytes stand for it.
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
"""Element types by their names in the Open Inference Protocol."""
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_VERSION = re.compile(r"[1-9][0-9]{0,9}")  # the folders' and ganserve.v1's uint32


def datatype(dtype: np.dtype[np.generic]) -> str:
    """Return the protocol's name of an element type."""
    return _NAMES.get(dtype.newbyteorder("<"), str(dtype))


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphTensor(TensorSpec):
    """An input or output of a graph, as requests see it."""

    optional: bool = False
    """True for an input that requests may leave out."""
    by_default: bool = True
    """True for an output that is returned if the request names no outputs."""

    @property
    def type_and_shape(self) -> str:
        """Its datatype and shape, such as "FP32 [N, 3]"."""
        return f"{datatype(self.dtype)} [{', '.join(['N', *map(str, self.sample_shape)])}]"


_LABELS = GraphTensor(name="labels", dtype=DATATYPES["INT64"], optional=True, by_default=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The generator or the critic of one loaded version of a model."""

    model: Model
    is_critic: bool

    @property
    def name(self) -> str:
        """The model's name, with a suffix for the critic."""
        return self.model.info.name + (CRITIC_SUFFIX if self.is_critic else "")

    @property
    def inputs(self) -> tuple[GraphTensor, ...]:
        """The inputs that requests may give."""
        info = self.model.info
        if self.is_critic:
            labels = replace(_LABELS, optional=False)
            return (_samples(info), labels) if info.critic_takes_labels else (_samples(info),)
        seeds = GraphTensor(name="seeds", dtype=DATATYPES["UINT64"], optional=True)
        inputs = _latents(info), seeds, *_w(info)
        return (*inputs, _LABELS) if info.label_names else inputs

    @property
    def outputs(self) -> tuple[GraphTensor, ...]:
        """The outputs that requests may name."""
        if self.is_critic:
            return tuple(GraphTensor(name=name, dtype=DATATYPES["FP32"]) for name in ("scores", "probabilities"))
        info = self.model.info
        outputs = _samples(info), _latents(info), *_w(info)
        return (*outputs, _LABELS) if info.label_names else outputs

    @property
    def statistics(self) -> GraphStatistics:
        """Its counts since it was loaded."""
        batcher = self.model.critic if self.is_critic else self.model.generator
        assert batcher is not None, "a model without a critic has no critic graph"
        return batcher.statistics

    @property
    def engine(self) -> gan_service_pb2.EngineInfo:
        """Its execution provider and options."""
        return self.model.describe().engines[self.is_critic]


class Graphs:
    """The graphs of a repository: a model's generator has the name `<model>`, its critic `<model>.critic`.

    If a model's own name is `<model>.critic`, that name means this model, and the other model's critic can only be
    reached through GanService.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def resolve(self, name: str, version: str) -> Graph:
        """Return the graph that a request names; raise the errors of `Repository.resolve`.

        An empty name means the generator of the server's only model, an empty version the latest that is ready. A
        version that is not a positive integer raises InvalidRequestError, a missing critic FailedPreconditionError.
        """
        number = version_number(version)
        owner = self._critics_model(name)
        if owner is None:
            return Graph(model=self._repository.resolve(name, number, field="model_name"), is_critic=False)
        model = self._repository.resolve(owner, number, field="model_name")
        if model.critic is None:
            reason = model.info.critic_absence or "export it with its critic"
            raise FailedPreconditionError(f"{model.info} has no critic: {reason}")
        return Graph(model=model, is_critic=True)

    def is_ready(self, name: str, version: str) -> bool:
        """Return True if `resolve` would return a graph."""
        try:
            self.resolve(name, version)
        except RequestError:
            return False
        return True

    def ready(self, name: str = "", version: str = "") -> list[Graph]:
        """Return the graphs that are ready: all, those with one name, or one version of one name.

        A name raises the errors of `resolve`.
        """
        if version:
            return [self.resolve(name, version)]
        wanted = self.resolve(name, "").name if name else ""
        known = self._repository.names()
        graphs = []
        for model in self._repository.models():
            graphs.append(Graph(model=model, is_critic=False))
            if model.critic is not None and model.info.name + CRITIC_SUFFIX not in known:
                graphs.append(Graph(model=model, is_critic=True))
        return [graph for graph in graphs if wanted in ("", graph.name)]

    def states(self) -> list[tuple[str, gan_service_pb2.VersionSummary]]:
        """Return the name and state of every version of every graph; critics only of loaded versions."""
        summaries = self._repository.summaries()
        names = {summary.name for summary in summaries}
        states = []
        for summary in summaries:
            critic = summary.name + CRITIC_SUFFIX
            for version in summary.versions:
                states.append((summary.name, version))
                if version.has_critic and critic not in names:
                    states.append((critic, version))
        return states

    def model_name(self, name: str) -> str:
        """Return the name of a model to load or unload; raise InvalidRequestError if it is empty or names a critic."""
        owner = self._critics_model(name)
        if owner is not None:
            raise invalid_field("model_name", f"is {shown(name)}, a part of model {owner!r}: load or unload that")
        if not name:
            raise invalid_field("model_name", "is empty; expected the name of a model")
        return name

    def _critics_model(self, name: str) -> str | None:
        """Return the model whose critic has this name; None if there is none, or a model has this name."""
        owner = name.removesuffix(CRITIC_SUFFIX)
        if owner in {name, ""}:
            return None
        known = self._repository.names()
        return owner if owner in known and name not in known else None


def version_number(version: str) -> int:
    """Return the number of a version, 0 for the latest; raise InvalidRequestError if it is not a positive integer."""
    if not version:
        return 0
    if not _VERSION.fullmatch(version):
        raise invalid_field("model_version", f"is {shown(version)}; expected a positive integer, or '' for the latest")
    return int(version)


def _samples(info: ModelInfo) -> GraphTensor:
    return GraphTensor(name="samples", dtype=info.sample_dtype, sample_shape=info.sample_shape)


def _latents(info: ModelInfo) -> GraphTensor:
    dtype, shape = DATATYPES["FP32"], (info.latent_dimension,)
    return GraphTensor(name="latents", dtype=dtype, sample_shape=shape, optional=True, by_default=False)


def _w(info: ModelInfo) -> tuple[GraphTensor, ...]:
    """Return the tensor of w's, [N, L, W], if the model has a mapping with such."""
    if info.style is None or not info.style.w_dimension:
        return ()
    shape = info.style.layers, info.style.w_dimension
    return (GraphTensor(name="w", dtype=DATATYPES["FP32"], sample_shape=shape, optional=True, by_default=False),)
