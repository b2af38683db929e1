"""Analyse a critic that was made elsewhere, and wrap it as a package's graph.

N = batch, K = labels, H, W, C = image, D = vector.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph
from ganserve_export.from_onnx.generator import EVAL_MODE, SEED, ForeignGenerator, rounding_of
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.onnx_options import OnnxOptions, PixelRange
from ganserve_export.from_onnx.pixels import LayoutName, add_from_levels, from_levels
from ganserve_export.from_onnx.surgery import Declared, Surgery
from ganserve_export.from_onnx.tensor_roles import find_labels, find_output, find_samples_input
from ganserve_export.package.batch_independence import BATCH, check_alone
from ganserve_export.package.calibration import LogisticCalibration

_CLOSEST = 1e-7  # Distance of a probability from 0 and 1, so that its log odds are finite.


class ForeignCritic:
    """A critic, analysed and tried on the generator's samples; ExportError if that fails or is ambiguous."""

    def __init__(self, graph: ForeignGraph, generator: ForeignGenerator, options: OnnxOptions) -> None:
        self.graph = graph
        self._all_labels = generator.label_count
        self._sample_shape = generator.sample_shape
        self.samples, layouts = find_samples_input(graph, options.critic_samples, generator.sample_shape)
        flag = "--critic-labels"
        self.labels = find_labels(
            graph, options.critic_labels, self.samples, self._all_labels, required=False, flag=flag
        )
        self._sign = 1.0 if options.score_higher == "real" else -1.0
        self.layout: LayoutName | None = None
        if generator.layout is not None:
            self.layout = generator.layout if generator.layout in layouts else "nchw" if "nchw" in layouts else "nhwc"
        self.pixel_range: PixelRange | None = None
        if self.layout is not None and self.samples.is_float:
            self.pixel_range = generator.pixel_range or options.range
            if self.pixel_range is None:
                remedy = "say what black and white are with --range -1..1, 0..1 or 0..255"
                raise graph.error(f"takes images as floats ({self.samples}): {remedy}")
        self._try_out(generator, options)

    @property
    def label_count(self) -> int:
        """Return the number of labels that it takes; 0: none."""
        return 0 if self.labels is None else self._all_labels

    def _try_out(self, generator: ForeignGenerator, options: OnnxOptions) -> None:
        """Find the output with one value per sample, and check that no score depends on another sample."""
        latents = generator.prior.draw(BATCH, torch.Generator().manual_seed(SEED))
        labels = torch.arange(BATCH) % self._all_labels if self._all_labels else None
        samples = generator(latents, labels)
        names = [tensor.name for tensor in self.graph.outputs]
        try:
            values = dict(zip(names, self.graph.run(self._feed(samples, labels)), strict=True))
        except ExportError as error:
            raise self.graph.error(f"fails for {BATCH} samples: {error}") from error
        single = [tensor for tensor in self.graph.outputs if tensor.is_float and _is_single(values[tensor.name])]
        self.output = find_output(self.graph, options.critic_scores, "scores", "--critic-scores", single)
        raw = values[self.output.name]
        if self.output not in single:
            given = f"{raw.dtype} {list(raw.shape)} for {BATCH} samples as {self.output.name}"
            raise self.graph.error(
                f"gives {given}; expected one float per sample, [N] or [N, 1]. Export a critic of patches with their "
                "mean inside, and a critic with a fixed batch size with x.shape[0] instead"
            )
        logits = self.graph.before_sigmoid(self.output.name) if options.critic_output != "score" else None
        self._value = logits or self.output.name
        self._is_probability = options.critic_output == "probability" and logits is None
        self._ends_in_sigmoid = logits is not None
        if logits is not None:
            self.graph.expose(logits)
        if self._is_probability and not (raw.min() >= 0.0 and raw.max() <= 1.0):
            raise ExportError(
                f"--critic-output probability: the {self.graph.name} gives {float(raw.min()):.3g} to "
                f"{float(raw.max()):.3g} as {self.output.name}, which are not probabilities. Use --critic-output score"
            )
        if not torch.isfinite(self.scores(samples, labels)).all():
            raise self.graph.error("gives samples scores that are not finite: export an earlier checkpoint")
        check_alone(
            self.scores,
            [samples] if labels is None or self.labels is None else [samples, labels],
            (),
            self.graph.name,
            rounding=rounding_of(self.graph),
            advice=f"{EVAL_MODE}, or package the generator alone",
        )

    def _feed(self, samples: torch.Tensor, labels: torch.Tensor | None) -> dict[str, npt.NDArray[Any]]:
        if self.layout is not None:
            given = from_levels(samples.numpy(), self.pixel_range, self.layout, self.samples.element)
        else:
            given = samples.numpy().astype(self.samples.element)
        return {self.samples.name: given} | encode_labels(labels, self.labels, self._all_labels)

    def scores(self, samples: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return scores float32 [N], higher for real samples; from the foreign graph and numpy around it."""
        values = self.graph.run(self._feed(samples, labels), [self._value])[0].astype(np.float32).reshape(-1)
        if self._is_probability:
            values = np.clip(values, np.float32(_CLOSEST), np.float32(1 - _CLOSEST))
            values = np.log(values) - np.log(np.float32(1) - values)
        return torch.from_numpy(values * np.float32(self._sign))

    def reference(self, calibration: LogisticCalibration) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        """Return a function that gives scores and probabilities float32 [N], as the package's graph must give them."""
        slope = torch.tensor(calibration.slope, dtype=torch.float32)
        intercepts = torch.tensor(calibration.intercepts, dtype=torch.float32)

        def judge(samples: torch.Tensor, labels: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            scores = self.scores(samples, labels)
            shift = intercepts[0] if labels is None else intercepts[labels]
            return scores, torch.sigmoid(slope * scores + shift)

        return judge

    def wrap(self, calibration: LogisticCalibration) -> onnx.ModelProto:
        """Return the package's graph: samples and labels int64 [N] -> scores and probabilities float32 [N]."""
        surgery = Surgery(self.graph)
        value = "samples"
        if self.layout is not None:
            value = add_from_levels(surgery, value, self.pixel_range, self.layout, self.samples.element)
        elif self.samples.element != "float32":
            value = surgery.cast(value, self.samples.element)
        surgery.feed(self.samples.name, value)
        feed_labels(surgery, self.labels, self._all_labels)
        value = surgery.take(self._value)
        value = surgery.node("Reshape", surgery.cast(value, "float32"), surgery.constant([-1], np.int64))
        if self._is_probability:
            low, high = surgery.constant(_CLOSEST, np.float32), surgery.constant(1 - _CLOSEST, np.float32)
            value = surgery.node("Clip", value, low, high)
            rest = surgery.node("Sub", surgery.constant(1, np.float32), value)
            value = surgery.node("Sub", surgery.node("Log", value), surgery.node("Log", rest))
        if self._sign < 0:
            value = surgery.node("Neg", value)
        surgery.emit("scores", value)
        scaled = surgery.node("Mul", value, surgery.constant(calibration.slope, np.float32))
        if self.labels is None:
            shift = surgery.constant(calibration.intercepts[0], np.float32)
        else:
            shift = surgery.node("Gather", surgery.constant(calibration.intercepts, np.float32), "labels", axis=0)
        surgery.emit("probabilities", surgery.node("Sigmoid", surgery.node("Add", scaled, shift)))
        samples = ("float32" if self.layout is None else "uint8", self._sample_shape)
        outputs: Declared = {"scores": ("float32", ()), "probabilities": ("float32", ())}
        return surgery.finish({"samples": samples}, outputs, has_labels=self.labels is not None)

    def __str__(self) -> str:
        """Say how it was understood."""
        taken = f"samples {self.samples}" + (f", {self.pixel_range}" if self.pixel_range else "")
        if self.labels is not None:
            taken += f", labels {self.labels.tensor} ({self.labels.form})"
        what = "probability" if self._is_probability else "score"
        if self._ends_in_sigmoid:
            what = "probability, its log odds taken before the sigmoid"
        return f"{taken} -> {self.output.name} ({what}; {'real' if self._sign > 0 else 'generated'} higher)"


def _is_single(values: npt.NDArray[Any]) -> bool:
    return bool(values.ndim) and len(values) == BATCH and values.size == BATCH
