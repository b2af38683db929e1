"""Check a request in named tensors and plan its work. N = samples, Z = values of one latent."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ganserve_server.error_text import MOST_SHOWN, and_others, counted, listed, shown
from ganserve_server.models.latents import MAX_INDEX, draw_seed
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import CriticWork, GeneratorWork, Labels
from ganserve_server.models.style import StyleWork
from ganserve_server.open_inference.graphs import DATATYPES, Graph, GraphTensor, datatype
from ganserve_server.open_inference.parameters import Parameter, Parameters
from ganserve_server.open_inference.style_parameters import read_style
from ganserve_server.queue.lanes import Priority
from ganserve_server.requests.field_checks import check_answer_size, check_controls, check_finite
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.limits import Limits

_NOT_WITH_LATENTS = "cannot be combined with latents: leave it out"
_HIGHEST, _NORMAL = 1, 2  # Triton's numbers: a larger one is a lower priority, and 0 is the default
_PRIORITIES = {_HIGHEST: Priority.HIGH, _NORMAL: Priority.NORMAL}


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceRequest:
    """A request for one run of a graph."""

    model: str
    """Name of the graph."""
    version: str = ""
    """A positive integer; empty for the latest."""
    inputs: Mapping[str, NDArray[np.generic]]
    """Inputs by name; never changed."""
    outputs: Sequence[str] = ()
    """Names of the outputs to return; empty for the default ones."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManySeeds:
    """Samples with one seed each."""

    seeds: NDArray[np.uint64]
    """[N]."""
    offset: int
    """Index of each sample within its seed's sequence."""
    truncation: float | None
    labels: Labels
    controls: tuple[tuple[int, float], ...]
    style: StyleWork | None

    def part(self, start: int, most: int) -> ManySeeds:
        """Return at most `most` of these samples, from `start` on."""
        rows = slice(start, start + most)
        labels = self.labels[rows] if isinstance(self.labels, np.ndarray) else self.labels
        style = None if self.style is None else self.style.part(start, most)
        return replace(self, seeds=self.seeds[rows], labels=labels, style=style)


_Work = GeneratorWork | ManySeeds | CriticWork


@dataclass(frozen=True, kw_only=True, slots=True)
class InferencePlan:
    """A valid request."""

    request: InferenceRequest
    graph: Graph
    outputs: tuple[GraphTensor, ...]
    """The outputs to return, in order."""
    count: int
    """N."""
    work: _Work
    seed: int | None
    """The seed of all samples, if there is only one."""
    priority: Priority
    deadline: float | None

    @property
    def response_bytes(self) -> int:
        """Size of the outputs."""
        return self.count * sum(one.sample_bytes for one in self.outputs)


def plan_inference(graph: Graph, request: InferenceRequest, limits: Limits, deadline: float | None) -> InferencePlan:
    """Check a request for a graph, and raise an error with all of its problems.

    `deadline` is a value of `time.monotonic()`, which the request may shorten.
    """
    findings = Findings()
    parameters = Parameters(request.parameters, findings)
    priority = _PRIORITIES.get(parameters.integer("priority", 0, 2**64) or _NORMAL, Priority.LOW)
    timeout_us = parameters.integer("timeout", 0, 2**63) or 0  # as in Triton, 0 means none
    if timeout_us:
        deadline = min(math.inf if deadline is None else deadline, time.monotonic() + timeout_us / 1e6)
    tensors = _tensors(graph, request, findings)
    outputs = _outputs(graph, request.outputs, findings)
    if graph.is_critic:
        count, work, seed = _plan_critic(graph, tensors, findings)
    else:
        count, work, seed = _plan_generator(graph, outputs, tensors, parameters, limits, findings)
    parameters.refuse_others(graph.name)
    findings.raise_any()
    assert work is not None, "without work, there are findings"
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


def _tensors(graph: Graph, request: InferenceRequest, findings: Findings) -> dict[str, NDArray[np.generic]]:
    """Check each input and return the valid ones."""
    inputs = {one.name: one for one in graph.inputs}
    for name in request.inputs:
        if name not in inputs:
            known = listed([f"{one.name} {one.type_and_shape}" for one in graph.inputs])
            findings.invalid(f"inputs.{name[:MOST_SHOWN]}", f"is not an input of {graph.name!r}, which has: {known}")
    for one in inputs.values():
        if one.name not in request.inputs and not one.optional:
            findings.invalid(f"inputs.{one.name}", f"is missing; expected {one.type_and_shape}")
    given = {name: tensor for name, tensor in request.inputs.items() if name in inputs}
    fixed = next((name for name in ("latents", "w") if name in given), "")
    if fixed and "labels" in inputs and "labels" not in given:
        findings.invalid("inputs.labels", f"is missing; with {fixed}, {graph.name!r} needs a label for each")
    checked = {name: _check_tensor(tensor, inputs[name], findings) for name, tensor in given.items()}
    return {name: tensor for name, tensor in checked.items() if tensor is not None}


def _check_tensor(tensor: NDArray[np.generic], wanted: GraphTensor, findings: Findings) -> NDArray[np.generic] | None:
    """Return the tensor in the graph's form; None if it is wrong."""
    path = f"inputs.{wanted.name}"
    wrong_before = len(findings.violations)
    if tensor.dtype != wanted.dtype and not (wanted.name == "seeds" and tensor.dtype == DATATYPES["INT64"]):
        found, expected = datatype(tensor.dtype), datatype(wanted.dtype)
        findings.invalid(f"{path}.datatype", f"is {found}; expected {expected}: convert it before you send it")
    shape = tensor.shape
    if not wanted.sample_shape and shape[1:] == (1,):
        tensor = tensor.reshape(-1)  # clients often send one number a sample as a column
    if tensor.shape[1:] != wanted.sample_shape or not tensor.shape:
        extents = wanted.type_and_shape.partition(" ")[2]
        findings.invalid(f"{path}.shape", f"is {shown(list(shape))}; expected {extents}")
    elif not len(tensor):
        findings.invalid(f"{path}.shape", f"is {list(shape)}; expected N of at least 1")
    if len(findings.violations) > wrong_before or not check_finite(tensor, path, findings):
        return None
    return tensor


def _outputs(graph: Graph, names: Sequence[str], findings: Findings) -> tuple[GraphTensor, ...]:
    outputs = {one.name: one for one in graph.outputs}
    if not names:
        return tuple(one for one in outputs.values() if one.by_default)
    asked = collections.Counter(names)
    for name in asked:
        if name not in outputs:
            known = listed(outputs)
            findings.invalid(f"outputs.{name[:MOST_SHOWN]}", f"is not an output of {graph.name!r}, which has: {known}")
        elif asked[name] > 1:
            findings.invalid(f"outputs.{name}", "is asked for twice")
    return tuple(outputs[name] for name in names if name in outputs)


def _plan_critic(
    graph: Graph, tensors: dict[str, NDArray[np.generic]], findings: Findings
) -> tuple[int, _Work | None, None]:
    samples = tensors.get("samples")
    if samples is None:
        return 0, None, None
    labels = _labels(graph.model.info, tensors.get("labels"), len(samples), findings)
    return len(samples), CriticWork(samples=samples, labels=labels), None


def _plan_generator(
    graph: Graph,
    outputs: Sequence[GraphTensor],
    tensors: dict[str, NDArray[np.generic]],
    parameters: Parameters,
    limits: Limits,
    findings: Findings,
) -> tuple[int, _Work | None, int | None]:
    info = graph.model.info
    refused = ("count", "offset") if info.style is not None else ("count", "offset", "truncation")
    given = {name: parameters.given(name) for name in refused}
    count = parameters.integer("count", 1, MAX_INDEX)
    offset = parameters.integer("offset", 0, MAX_INDEX) or 0
    controls = check_controls(info, parameters.numbers("controls."), parameters.findings)
    return_w = any(one.name == "w" for one in outputs)
    truncation, style = read_style(info, tensors, parameters, return_w=return_w)
    latents, seeds, w = tensors.get("latents"), tensors.get("seeds"), tensors.get("w")
    sample_bytes = sum(one.sample_bytes for one in graph.outputs if one.name != "w" or return_w)
    if latents is not None:
        if seeds is not None:
            findings.invalid("inputs.seeds", _NOT_WITH_LATENTS)
        for name in [*(name for name, is_given in given.items() if is_given), *(["controls"] if controls else [])]:
            parameters.findings.invalid(name, _NOT_WITH_LATENTS)
        if w is not None and len(w) != len(latents):
            findings.invalid(
                "inputs.w.shape", f"has {counted(len(w), 'sample')}, latents has {len(latents)}: make them the same"
            )
        check_answer_size(len(latents), sample_bytes, limits, "inputs.latents.shape", findings)
        labels = _labels(info, tensors.get("labels"), len(latents), findings)
        work = GeneratorWork(latents=cast("NDArray[np.float32]", latents), labels=labels, style=style)
        return len(latents), work, None
    numbers = np.array([draw_seed()], np.uint64) if seeds is None else _seed_numbers(seeds, findings)
    if len(numbers) > 1 and given["count"]:
        parameters.findings.invalid("count", f"cannot be combined with {len(numbers)} seeds: leave it out")
    if seeds is None and not given["count"] and "labels" in tensors:
        count = len(tensors["labels"])
    if w is not None:
        count = len(w)
        if len(numbers) not in {1, count}:
            findings.invalid(
                "inputs.seeds.shape", f"has {len(numbers)}; expected 1, or one for each of the {count} w's"
            )
    count = count or len(numbers)
    if offset + count > MAX_INDEX:
        parameters.findings.invalid("offset", f"{offset} + count {count} exceeds 2^48: use another seed")
    sized_by = "parameters.count" if given["count"] else f"inputs.{'labels' if seeds is None else 'seeds'}.shape"
    check_answer_size(count, sample_bytes, limits, sized_by, findings)
    labels = _labels(info, tensors.get("labels"), count, findings)
    if len(numbers) > 1:
        many = ManySeeds(
            seeds=numbers, offset=offset, truncation=truncation, labels=labels, controls=controls, style=style
        )
        return count, many, None
    seed = int(numbers[0])
    work = GeneratorWork(seed=seed, offset=offset, truncation=truncation, labels=labels, controls=controls, style=style)
    return count, work, seed


def _seed_numbers(seeds: NDArray[np.generic], findings: Findings) -> NDArray[np.uint64]:
    if seeds.dtype.kind == "i":
        negative = cast("NDArray[np.int64]", seeds) < 0
        if negative.any():
            row = int(np.argmax(negative))
            findings.invalid("inputs.seeds", f"has {seeds[row]} in row {row}; expected 0 to 2^64 - 1")
    return seeds.astype(np.uint64)


def _labels(info: ModelInfo, tensor: NDArray[np.generic] | None, count: int, findings: Findings) -> Labels:
    """Return one label for all samples, int64 [N], or None without labels or with wrong ones."""
    if tensor is None:
        return None
    labels = cast("NDArray[np.int64]", tensor)
    known = len(info.label_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= known))
    if len(labels) not in {1, count}:
        problem = f"has {counted(len(labels), 'label')}; expected 1, or one for each of {counted(count, 'sample')}"
        findings.invalid("inputs.labels.shape", problem)
    if len(wrong):
        findings.invalid(
            "inputs.labels",
            f"has {labels[wrong[0]]} in row {wrong[0]}{and_others(len(wrong), 'unknown')}; "
            f"model {info.name!r} has the labels 0 to {known - 1}",
        )
    return int(labels[0]) if len(labels) == 1 else labels
