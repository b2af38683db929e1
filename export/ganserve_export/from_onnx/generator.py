"""Analyse a generator that was made elsewhere, and wrap it as a package's graph.

N = batch, Z = latent, K = labels, H, W, C = image, D = vector.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.onnx_options import OnnxOptions, PixelRange
from ganserve_export.from_onnx.pixels import LayoutName, add_to_levels, check_range, to_levels
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import find_labels, find_latents, find_output
from ganserve_export.package.batch_independence import BATCH, RELATIVE_TOLERANCE, check_alone
from ganserve_training.networks.latents import LatentPrior

SEED = 0
HALF_ROUNDING, LEVEL_ROUNDING = 2e-3, 1.01 / 255
EVAL_MODE = (
    "export it in eval mode (model.eval() before torch.onnx.export; training=False in Keras), and freeze everything "
    "that depends on other samples, such as minibatch statistics"
)


class ForeignGenerator:
    """A generator, analysed and tried; ExportError if that fails or is ambiguous."""

    def __init__(self, graph: ForeignGraph, options: OnnxOptions) -> None:
        self.graph = graph
        self.label_count = len(options.label_names)
        self.latents = find_latents(graph, options.latents, self.label_count, options.labels_input)
        flag = "--labels-input"
        self.labels = find_labels(graph, options.labels_input, self.latents, self.label_count, required=True, flag=flag)
        suited = [tensor for tensor in graph.outputs if len(tensor.shape) in (2, 4) and tensor.element != "int64"]
        self.output = find_output(graph, options.output, "samples", "--output", suited)
        assert self.latents.size is not None  # find_latents has checked it
        self.prior = LatentPrior(dim=self.latents.size, distribution=options.latent_distribution, continuous_codes=0)
        self._try_out(options)

    def _try_out(self, options: OnnxOptions) -> None:
        """Draw samples, learn their form, and check that no sample depends on another."""
        latents = self.prior.draw(BATCH, torch.Generator().manual_seed(SEED))
        labels = torch.arange(BATCH) % self.label_count if self.label_count else None
        if labels is not None:
            labels[-1] = self.label_count - 1
        try:
            raw = self.raw(latents, labels)
        except ExportError as error:
            hint = f" Are there {self.label_count} labels? List them all with --labels" if self.label_count else ""
            raise self.graph.error(f"fails for {BATCH} samples: {error}.{hint}") from error
        shape = list(raw.shape)
        if not shape or shape[0] != BATCH:
            remedy = "export it again with a dynamic batch (x.shape[0] instead of len(x) or a number)"
            raise self.graph.error(f"gives {shape} for {BATCH} samples, though it declares an open batch: {remedy}")
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise self.graph.error("gives values that are not finite: export an earlier checkpoint")
        self.element = raw.dtype.name
        check_alone(
            lambda *given: torch.from_numpy(np.array(self.raw(*given), np.float32)),
            [latents] if labels is None else [latents, labels],
            tuple(shape[1:]),
            self.graph.name,
            rounding=LEVEL_ROUNDING if self.element == "uint8" else rounding_of(self.graph),
            advice=EVAL_MODE,
        )
        self.layout: LayoutName | None = None
        self.pixel_range: PixelRange | None = None
        if len(shape) == 2 and raw.dtype.kind == "f":
            if options.range is not None:
                raise ExportError(
                    f"--range {options.range}: the {self.graph.name} makes vectors of {shape[1]} values, and only "
                    "images have a range. Leave it out, or export with the reshape to [N, C, H, W] inside"
                )
        elif len(shape) == 4 and (raw.dtype.kind == "f" or raw.dtype == np.uint8):
            self.layout = self._layout(shape, options.layout)
            if raw.dtype.kind == "f":
                self.pixel_range = check_range(raw, options.range, self.graph.name)
        else:
            raise self.graph.error(
                f"gives {raw.dtype} {_form(shape)} as {self.output.name}; expected images "
                "[N, C, H, W] or [N, H, W, C], floats or uint8, or vectors [N, D] of floats"
            )
        samples = self(latents, labels)
        self.sample_shape = tuple(samples.shape[1:])
        # Mean and spread of vectors: the units of differences.
        self.mean = tuple(samples.mean(dim=0).tolist()) if self.layout is None else ()
        self.std = tuple(samples.std(dim=0).clamp(min=1e-12).tolist()) if self.layout is None else ()

    def _layout(self, shape: list[int], stated: Literal["auto", "nchw", "nhwc"]) -> LayoutName:
        """Find the axis of the channels: the one of 1 to 4."""
        channels: dict[LayoutName, int] = {"nchw": shape[1], "nhwc": shape[3]}
        possible = [layout for layout, count in channels.items() if count <= 4 and stated in ("auto", layout)]
        if not possible:
            raise self.graph.error(
                f"gives {_form(shape)}; expected images of 1 to 4 channels, [N, C, H, W] "
                f"or [N, H, W, C]{'' if stated == 'auto' else f' (--layout {stated})'}"
            )
        if len(possible) == 2:
            raise self.graph.error(f"gives {_form(shape)}: say which axis is the channels with --layout nchw or nhwc")
        return possible[0]

    def raw(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> npt.NDArray[Any]:
        """Return the foreign graph's own output for latents [N, Z] and labels [N]."""
        given = latents.reshape(len(latents), *self.latents.extents).numpy().astype(self.latents.element)
        feed = {self.latents.name: given} | encode_labels(labels, self.labels, self.label_count)
        return self.graph.run(feed, [self.output.name])[0]

    def __call__(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Draw samples uint8 [N, H, W, C] or float32 [N, D] with the foreign graph and numpy around it."""
        raw = self.raw(latents, labels)
        samples = raw.astype(np.float32) if self.layout is None else to_levels(raw, self.pixel_range, self.layout)
        return torch.from_numpy(samples)

    def wrap(self) -> onnx.ModelProto:
        """Return the package's graph: latents float32 [N, Z] and labels int64 [N] -> samples."""
        surgery = Surgery(self.graph)
        value = "latents"
        if len(self.latents.shape) > 2:
            value = surgery.node("Reshape", value, surgery.constant([-1, *self.latents.extents], np.int64))
        if self.latents.element != "float32":
            value = surgery.cast(value, self.latents.element)
        surgery.feed(self.latents.name, value)
        feed_labels(surgery, self.labels, self.label_count)
        value = surgery.take(self.output.name)
        if self.layout is not None:
            value = add_to_levels(surgery, value, self.pixel_range, self.layout)
        elif self.element != "float32":
            value = surgery.cast(value, "float32")
        surgery.emit("samples", value)
        samples = ("float32" if self.layout is None else "uint8", self.sample_shape)
        return surgery.finish(
            {"latents": ("float32", (self.prior.dim,))}, {"samples": samples}, has_labels=self.labels is not None
        )

    def __str__(self) -> str:
        """Say how it was understood."""
        taken = [f"latents {self.latents} ({self.prior.distribution})"]
        if self.labels is not None:
            taken.append(f"labels {self.labels.tensor} ({self.labels.form})")
        given = f"{self.output.name} {self.element}"
        if self.layout is None:
            return f"{', '.join(taken)} -> {given} -> vectors [N, {self.sample_shape[0]}]"
        scale = f", {self.pixel_range}" if self.pixel_range else ""
        return f"{', '.join(taken)} -> {given} {self.layout}{scale} -> images {list(self.sample_shape)}"


def rounding_of(graph: ForeignGraph) -> float:
    """Return the largest rounding difference between two results of one sample, as a share of the largest value."""
    return HALF_ROUNDING if graph.is_half else RELATIVE_TOLERANCE


def _form(shape: list[int]) -> str:
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"
