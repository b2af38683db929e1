"""Checks requests in named tensors and turns them into work. N = samples, Z = values of one latent."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from ganserve_server.draw.latents import MAX_INDEX, Distribution, draw_seed
from ganserve_server.models.model import CriticWork, GeneratorWork
from ganserve_server.open_inference.graphs import DATATYPES, datatype
from ganserve_server.open_inference.parameters import Parameter, Parameters
from ganserve_server.queue.lanes import Priority
from ganserve_server.requests.validation import Findings, check_controls, check_truncation, listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ganserve_server.models.model import Labels
    from ganserve_server.models.package import ModelInfo
    from ganserve_server.open_inference.graphs import Graph, Port
    from ganserve_server.requests.work import Limits

_NOT_BESIDE_LATENTS = "is given beside latents, which leave nothing to draw: leave it out"
_MOST_SHOWN = 80
_HIGHEST, _NORMAL = 1, 2  # as Triton numbers priorities; larger is lower, and 0 the default


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InferenceRequest:
    """What a graph is to be given."""

    model: str
    """Name of the graph."""
    version: str = ""
    """A positive integer, or nothing for the latest."""
    inputs: Mapping[str, NDArray[np.generic]]
    """By name; only read."""
    outputs: Sequence[str] = ()
    """Names of the outputs to return. Empty: those that are returned by default."""
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    """By name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """One sample each of several seeds."""

    seeds: NDArray[np.uint64]
    """[N]."""
    offset: int
    """Index of each sample within its seed's sequence."""
    truncation: float | None
    labels: Labels
    controls: tuple[tuple[int, float], ...]

    def part(self, start: int, most: int) -> Seeds:
        """Return at most that many of them, from `start` on."""
        rows = slice(start, start + most)
        labels = self.labels[rows] if isinstance(self.labels, np.ndarray) else self.labels
        return dataclasses.replace(self, seeds=self.seeds[rows], labels=labels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InferencePlan:
    """A request that was found good."""

    request: InferenceRequest
    graph: Graph
    outputs: tuple[Port, ...]
    """What is returned, in that order."""
    count: int
    """N."""
    work: GeneratorWork | Seeds | CriticWork
    seed: int | None
    """The one that all samples are drawn from, if there is one."""
    priority: Priority
    deadline: float | None

    @property
    def response_bytes(self) -> int:
        """Length of what is returned."""
        return self.count * sum(port.sample_bytes for port in self.outputs)


def plan_inference(graph: Graph, request: InferenceRequest, limits: Limits, deadline: float | None) -> InferencePlan:
    """Check a request for a graph.

    Args:
        graph: What it is for.
        request: The request.
        limits: Sizes of answers.
        deadline: `time.monotonic()` after which work that was not started is dropped; the request may shorten it.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings()
    parameters = Parameters(request.parameters, findings)
    priority = _priority(parameters)
    timeout_us = parameters.integer("timeout", 0, 2**63) or 0  # as Triton has it: 0 is none
    if timeout_us:
        deadline = min(math.inf if deadline is None else deadline, time.monotonic() + timeout_us / 1e6)
    tensors = _tensors(graph, request, findings)
    outputs = _outputs(graph, request.outputs, findings)
    plan = _plan_critic if graph.is_critic else _plan_generator
    count, work, seed = plan(graph, tensors, parameters, limits, findings)
    parameters.refuse_others(graph.name)
    findings.raise_any()
    assert work is not None, "whatever prevents work is found wrong"
    return InferencePlan(
        request=request,
        graph=graph,
        outputs=outputs,
        count=count,
        work=work,
        seed=seed,
        priority=priority,
        deadline=deadline,
    )


def _priority(parameters: Parameters) -> Priority:
    priority = parameters.integer("priority", 0, 2**64) or _NORMAL
    if priority == _HIGHEST:
        return Priority.HIGH
    return Priority.NORMAL if priority == _NORMAL else Priority.LOW


def _tensors(graph: Graph, request: InferenceRequest, findings: Findings) -> dict[str, NDArray[np.generic]]:
    """Return the inputs that are right in themselves."""
    ports = {port.name: port for port in graph.inputs}
    for name in request.inputs:
        if name not in ports:
            known = listed(f"{port.name} {port}" for port in graph.inputs)
            findings.invalid(f"inputs.{name[:_MOST_SHOWN]}", f"is no input of {graph.name!r}, which has: {known}")
    for port in ports.values():
        if port.name not in request.inputs and not port.optional:
            findings.invalid(f"inputs.{port.name}", f"is missing; expected {port}")
    given = {name: tensor for name, tensor in request.inputs.items() if name in ports}
    if "latents" in given and "labels" in ports and "labels" not in given:
        findings.invalid("inputs.labels", f"is missing; with latents, {graph.name!r} needs a label for each")
    checked = {name: _check_tensor(tensor, ports[name], findings) for name, tensor in given.items()}
    return {name: tensor for name, tensor in checked.items() if tensor is not None}


def _check_tensor(tensor: NDArray[np.generic], port: Port, findings: Findings) -> NDArray[np.generic] | None:
    """Return the tensor as the graph takes it, or nothing if it is wrong."""
    field = f"inputs.{port.name}"
    right = True
    if tensor.dtype != port.dtype and not (port.name == "seeds" and tensor.dtype == DATATYPES["INT64"]):
        found, wanted = datatype(tensor.dtype), datatype(port.dtype)
        findings.invalid(f"{field}.datatype", f"is {found}; expected {wanted}: convert it before you send it")
        right = False
    shape = tensor.shape
    if not port.sample_shape and shape[1:] == (1,):
        tensor = tensor.reshape(-1)  # one number a sample often comes as a column
    if tensor.shape[1:] != port.sample_shape or not tensor.shape:
        findings.invalid(f"{field}.shape", f"is {shown(list(shape))}; expected [{str(port).split(' [')[1]}")
        right = False
    elif not len(tensor):
        findings.invalid(f"{field}.shape", f"is {list(shape)}: no sample; expected N of at least 1")
        right = False
    if right and tensor.dtype.kind == "f":
        finite = np.isfinite(tensor).reshape(len(tensor), -1).all(1)
        if not finite.all():
            wrong, first = np.count_nonzero(~finite), int(np.argmin(finite))
            findings.invalid(field, f"has values that are not finite in {wrong} rows, first in row {first}")
            right = False
    return tensor if right else None


def _outputs(graph: Graph, names: Sequence[str], findings: Findings) -> tuple[Port, ...]:
    ports = {port.name: port for port in graph.outputs}
    if not names:
        return tuple(port for port in ports.values() if port.by_default)
    for name in names:
        if name not in ports:
            findings.invalid(
                f"outputs.{name[:_MOST_SHOWN]}", f"is no output of {graph.name!r}, which has: {listed(ports)}"
            )
        elif list(names).count(name) > 1:
            findings.invalid(f"outputs.{name}", "is asked for twice")
    return tuple(ports[name] for name in names if name in ports)


def _plan_critic(
    graph: Graph,
    tensors: dict[str, NDArray[np.generic]],
    _parameters: Parameters,
    _limits: Limits,
    findings: Findings,
) -> tuple[int, CriticWork | None, None]:
    samples = tensors.get("samples")
    if samples is None:
        return 0, None, None
    labels = _labels(graph.model.info, tensors.get("labels"), len(samples), findings)
    return len(samples), CriticWork(samples=samples, labels=labels), None


def _plan_generator(
    graph: Graph,
    tensors: dict[str, NDArray[np.generic]],
    parameters: Parameters,
    limits: Limits,
    findings: Findings,
) -> tuple[int, GeneratorWork | Seeds | None, int | None]:
    info = graph.model.info
    given = {name: parameters.given(name) for name in ("count", "offset", "truncation")}
    count = parameters.integer("count", 1, MAX_INDEX)
    offset = parameters.integer("offset", 0, MAX_INDEX) or 0
    truncation = parameters.number("truncation")
    controls = check_controls(info, parameters.numbers("controls."), parameters.findings)
    if truncation is not None:
        _check_truncation(info, truncation, parameters.findings)
    latents, seeds = tensors.get("latents"), tensors.get("seeds")
    if latents is not None:
        if seeds is not None:
            findings.invalid("inputs.seeds", _NOT_BESIDE_LATENTS)
        for name in [*(name for name, is_given in given.items() if is_given), *(["controls"] if controls else [])]:
            parameters.findings.invalid(name, _NOT_BESIDE_LATENTS)
        return len(latents), _latents_work(graph, latents, tensors.get("labels"), limits, findings), None
    numbers = np.array([draw_seed()], np.uint64) if seeds is None else _seed_numbers(seeds, findings)
    if len(numbers) > 1 and given["count"]:
        parameters.findings.invalid("count", f"is given beside {len(numbers)} seeds, which give a sample each")
    if seeds is None and not given["count"] and "labels" in tensors:
        count = len(tensors["labels"])
    count = count or len(numbers)
    if offset + count > MAX_INDEX:
        parameters.findings.invalid("offset", f"{offset} + count {count} exceeds 2^48: use another seed")
    sized_by = "parameters.count" if given["count"] else f"inputs.{'labels' if seeds is None else 'seeds'}.shape"
    _check_size(graph, sized_by, count, limits, findings)
    labels = _labels(info, tensors.get("labels"), count, findings)
    if len(numbers) > 1:
        many = Seeds(seeds=numbers, offset=offset, truncation=truncation, labels=labels, controls=controls)
        return count, many, None
    seed = int(numbers[0])
    work = GeneratorWork(seed=seed, offset=offset, truncation=truncation, labels=labels, controls=controls)
    return count, work, seed


def _latents_work(
    graph: Graph,
    latents: NDArray[np.generic],
    labels: NDArray[np.generic] | None,
    limits: Limits,
    findings: Findings,
) -> GeneratorWork:
    info = graph.model.info
    _check_size(graph, "inputs.latents.shape", len(latents), limits, findings)
    return GeneratorWork(
        latents=cast("NDArray[np.float32]", latents), labels=_labels(info, labels, len(latents), findings)
    )


def _seed_numbers(seeds: NDArray[np.generic], findings: Findings) -> NDArray[np.uint64]:
    if seeds.dtype.kind == "i":
        negative = cast("NDArray[np.int64]", seeds) < 0
        if negative.any():
            row = int(np.argmax(negative))
            findings.invalid("inputs.seeds", f"has {seeds[row]} in row {row}; expected 0 to 2^64 - 1")
    return seeds.astype(np.uint64)


def _check_truncation(info: ModelInfo, truncation: float, findings: Findings) -> None:
    check_truncation(truncation, findings)
    if info.distribution is not Distribution.NORMAL:
        findings.precondition(
            f"model {info.name!r} has uniform latents, truncation applies to normal ones: leave it out"
        )


def _check_size(graph: Graph, field: str, count: int, limits: Limits, findings: Findings) -> None:
    """Bounds what is held until the answer leaves: samples, latents and labels, whichever are returned."""
    size = sum(port.sample_bytes for port in graph.outputs)
    most = max(1, limits.max_response_bytes // size)
    if count > most:
        findings.invalid(
            field,
            f"makes it {count} samples, at {size} bytes each, with their latents, more than the "
            f"{limits.max_response_bytes} bytes of one answer; ask for at most {most} at a time",
        )


def _labels(info: ModelInfo, tensor: NDArray[np.generic] | None, count: int, findings: Findings) -> Labels:
    """Return one label for all, int64 [N], or None if there are none or they are wrong."""
    if tensor is None:
        return None
    labels = cast("NDArray[np.int64]", tensor)
    known = len(info.label_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= known))
    if len(labels) not in {1, count}:
        findings.invalid(
            "inputs.labels.shape", f"has {len(labels)} labels; expected 1, or one for each of the {count} samples"
        )
    if len(wrong):
        others = f" (and {len(wrong) - 1} others are unknown too)" if len(wrong) > 1 else ""
        findings.invalid(
            "inputs.labels",
            f"has {labels[wrong[0]]} in row {wrong[0]}{others}; model {info.name!r} has the labels 0 to {known - 1}",
        )
    return int(labels[0]) if len(labels) == 1 else labels
