"""Give a foreign generator's inputs their values, in numpy and as nodes.

N = batch, Z = latent, K = labels, L = layers.
"""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ganserve_export.errors import BadUsageError
from ganserve_export.from_onnx.controls import ControlInput, find_controls
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.noise import NoiseInput, add_noise, draw_noise
from ganserve_export.from_onnx.onnx_options import OnnxOptions
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import LabelInput, find_labels, find_latents
from ganserve_export.from_onnx.truncation_input import find_truncation
from ganserve_export.package.latent_values import LatentValues
from ganserve_training.networks.latents import LatentPrior


class GeneratorInputs:
    """The roles of a generator's inputs.

    The package's latents are the values of all inputs for latents in turn, without labels inside them, then those of
    the controls.

    Raises:
        ExportError: An input has no role, or could have several.
    """

    def __init__(self, graph: ForeignGraph, options: OnnxOptions) -> None:
        self._graph, self._mode = graph, options.noise
        self.label_count = len(options.label_names)
        self.controls: tuple[ControlInput, ...] = find_controls(graph, options.control)
        self.truncation = find_truncation(graph, options.truncation_input)
        self.noises = _noises(graph, options)
        meant = [each.tensor for each in (*self.controls, self.truncation) if each is not None]
        taken = [tensor.name for tensor in meant] + [tensor.name for _, tensor in self.noises]
        if self.truncation is not None and taken.count(self.truncation.tensor.name) > 1:
            given = options.truncation_input
            raise BadUsageError(f"--truncation-input {given}: this is a control or noise already. Give it one role")
        inside = options.labels_at is not None
        own_labels = 0 if inside else self.label_count
        self.latents = find_latents(
            graph, options.latents, own_labels, options.labels_input, taken, labels_known=self.label_count > 0
        )
        others = [*self.latents, *meant, *(tensor for _, tensor in self.noises)]
        flag = "--labels-input"
        self.labels: LabelInput | None = find_labels(
            graph, options.labels_input, others, own_labels, required=True, flag=flag
        )
        sizes = [tensor.size or 0 for tensor in self.latents]  # find_latents has checked that they are known
        self._width = sum(sizes)
        self._bounds = [0, *np.cumsum(sizes).tolist()]
        self.labels_at = options.labels_at
        if self.labels_at is not None and not 0 <= self.labels_at <= self._width - self.label_count:
            raise BadUsageError(
                f"--labels-at {self.labels_at}: the latents have {self._width} values; expected 0 to "
                f"{self._width - self.label_count} for {self.label_count} labels"
            )
        drawn = self._width - (self.label_count if inside else 0)
        if drawn < 1:
            raise BadUsageError(f"--labels-at {self.labels_at}: the labels leave no latents of {self._width} values")
        prior = LatentPrior(dim=drawn, distribution=options.latent_distribution, continuous_codes=0)
        declared = tuple(control for each in self.controls for control in each.controls)
        self.values = LatentValues(prior=prior, controls=declared)

    @property
    def takes_labels(self) -> bool:
        """Say whether the generator takes labels, in an input of their own or inside the latents."""
        return self.labels is not None or self.labels_at is not None

    def encode(
        self, latents: torch.Tensor, labels: torch.Tensor | None, psi: torch.Tensor | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the values of all inputs, [N, ...] each, for latents [N, Z], labels [N] and psi [N, L]."""
        count, values = len(latents), latents.numpy()
        drawn = values[:, : self.values.prior.dim]
        joined = drawn
        if self.labels_at is not None and labels is not None:
            one_hot = np.eye(self.label_count, dtype=np.float32)[labels.numpy()]
            joined = np.concatenate([drawn[:, : self.labels_at], one_hot, drawn[:, self.labels_at :]], axis=1)
        feed: dict[str, npt.NDArray[Any]] = {}
        for tensor, start, stop in zip(self.latents, self._bounds, self._bounds[1:], strict=False):
            feed[tensor.name] = joined[:, start:stop].reshape(count, *tensor.extents).astype(tensor.element)
        at = self.values.prior.dim
        for each in self.controls:
            part = values[:, at : at + len(each.controls)]
            at += len(each.controls)
            part = np.rint(part) if each.tensor.is_integer else part
            feed[each.tensor.name] = part.reshape(count, *each.tensor.extents).astype(each.tensor.element)
        if self.truncation is not None:
            tensor = self.truncation.tensor
            rows = np.full((count, self.truncation.layers), self.truncation.default) if psi is None else psi.numpy()
            feed[tensor.name] = rows.reshape(count, *tensor.extents).astype(tensor.element)
        for stream, (noise, tensor) in enumerate(self.noises):
            feed[tensor.name] = draw_noise(drawn, noise, tensor.extents, self._mode, stream).astype(tensor.element)
        return feed | encode_labels(labels, self.labels, self.label_count)

    def add(self, surgery: Surgery) -> None:
        """Add `encode` as nodes between the package's inputs and the foreign ones."""
        drawn = "latents"
        if self.values.controls:
            drawn = self._columns(surgery, "latents", 0, self.values.prior.dim)
        joined = drawn
        if self.labels_at is not None:
            depth, marks = surgery.constant([self.label_count], np.int64), surgery.constant([0, 1], np.float32)
            one_hot = surgery.node("OneHot", "labels", depth, marks)
            before = self._columns(surgery, drawn, 0, self.labels_at) if self.labels_at else None
            after = None
            if self.labels_at < self.values.prior.dim:
                after = self._columns(surgery, drawn, self.labels_at, self.values.prior.dim)
            joined = surgery.node("Concat", *filter(None, (before, one_hot, after)), axis=1)
        for tensor, start, stop in zip(self.latents, self._bounds, self._bounds[1:], strict=False):
            value = joined if len(self.latents) == 1 else self._columns(surgery, joined, start, stop)
            self._feed(surgery, tensor, value)
        at = self.values.prior.dim
        for each in self.controls:
            value = self._columns(surgery, "latents", at, at + len(each.controls))
            at += len(each.controls)
            self._feed(surgery, each.tensor, surgery.node("Round", value) if each.tensor.is_integer else value)
        if self.truncation is not None:
            self._feed(surgery, self.truncation.tensor, "psi")
        for stream, (noise, tensor) in enumerate(self.noises):
            dim = self.values.prior.dim
            value = add_noise(surgery, drawn, dim, noise, tensor.extents, self._mode, stream)
            if tensor.element != "float32":
                value = surgery.cast(value, tensor.element)
            surgery.feed(tensor.name, value)
        feed_labels(surgery, self.labels, self.label_count)

    @staticmethod
    def _columns(surgery: Surgery, value: str, start: int, stop: int) -> str:
        return surgery.node("Slice", value, *(surgery.constant([number], np.int64) for number in (start, stop, 1)))

    @staticmethod
    def _feed(surgery: Surgery, tensor: TensorInfo, value: str) -> None:
        if len(tensor.shape) != 2:
            value = surgery.node("Reshape", value, surgery.constant([-1, *tensor.extents], np.int64))
        if tensor.element != "float32":
            value = surgery.cast(value, tensor.element)
        surgery.feed(tensor.name, value)

    def __str__(self) -> str:
        """Say how the inputs were understood."""
        form = self.values.distribution
        parts = [f"latents {', '.join(map(str, self.latents))} ({form})"]
        if self.labels is not None:
            parts.append(f"labels {self.labels.tensor} ({self.labels.form})")
        if self.labels_at is not None:
            parts.append(f"labels one-hot at {self.labels_at} of them")
        parts += [f"control {', '.join(c.name for c in each.controls)}" for each in self.controls]
        if self.truncation is not None:
            parts.append(f"truncation psi {self.truncation.tensor}, usually {self.truncation.default:g}")
        if self.noises:
            count = sum(math.prod(tensor.extents) for _, tensor in self.noises)
            dropout = any(noise.is_dropout for noise, _ in self.noises)
            of = " (dropout in training mode; export in eval mode to leave it out)" if dropout else ""
            parts.append(f"{self._mode} noise of {count:,} values{of}")
        return ", ".join(parts)


def _noises(graph: ForeignGraph, options: OnnxOptions) -> tuple[tuple[NoiseInput, TensorInfo], ...]:
    """Return inputs for noise: in place of random nodes, named by the user, or pictures of one channel called noise."""
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    found = [(noise, inputs[noise.name]) for noise in graph.noise]
    for given in options.noise_input:
        name, _, drawn = given.rpartition("=") if given.endswith(("=uniform", "=normal")) else (given, "", "normal")
        if name not in inputs:
            listed = ", ".join(map(str, graph.inputs))
            raise BadUsageError(f"--noise-input {given}: the {graph.name} has no such input. It has {listed}")
        distribution: Literal["normal", "uniform"] = "uniform" if drawn == "uniform" else "normal"
        found.append((NoiseInput(name=name, distribution=distribution), inputs[name]))
    known = {tensor.name for _, tensor in found} | {options.latents}
    for tensor in graph.inputs:
        maps = len(tensor.shape) == 4 and 1 in (tensor.shape[1], tensor.shape[3]) and (tensor.size or 0) > 1
        if tensor.name not in known and tensor.is_float and maps and "noise" in tensor.name.lower() and len(inputs) > 1:
            found.append((NoiseInput(name=tensor.name, distribution="normal"), tensor))
    for _, tensor in found:
        if tensor.size is None or not tensor.is_float:
            raise graph.error(f"takes noise as {tensor}; expected floats of a fixed shape")
    return tuple(found)
