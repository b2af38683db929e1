"""Analyse a generator that was made elsewhere, and wrap it as a package's graph.

N = batch, Z = latent, K = labels, H, W, C = image, D = vector.
"""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph
from ganserve_export.from_onnx.generator_inputs import GeneratorInputs
from ganserve_export.from_onnx.labels_inside import find_place, labels_have_no_input, suspected
from ganserve_export.from_onnx.last_operation import last_operation
from ganserve_export.from_onnx.onnx_options import OnnxOptions, PixelRange
from ganserve_export.from_onnx.pixels import LayoutName, add_to_levels, check_range, to_levels
from ganserve_export.from_onnx.questions import Questions, UnclearError
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import find_output, of_full_size
from ganserve_export.from_onnx.video import Video
from ganserve_export.package.batch_independence import BATCH, check_alone

SEED = 0
LEVEL_ROUNDING = 1.01 / 255
_PROOFS = 5  # samples that prove that a freed batch axis computes what the original does
_AUDIO, _LEAST_SIDE = 1_024, 8
_KEPT = 0.9  # of the spread at psi 1: an input that leaves more of it at 0 does not truncate


class ForeignGenerator:
    """A generator, analysed and tried; ExportError if that fails. What is unclear goes to `questions`."""

    def __init__(self, graph: ForeignGraph, options: OnnxOptions, questions: Questions) -> None:
        self.graph = graph
        self._questions = questions
        self.label_count = len(options.label_names)
        inside = labels_have_no_input(graph, options)
        if not inside:
            with questions.collected():
                self.inputs = GeneratorInputs(graph, options)
        suited = [tensor for tensor in graph.outputs if len(tensor.shape) in (2, 4, 5) and tensor.element != "int64"]
        with questions.collected():
            pictures = of_full_size([tensor for tensor in suited if len(tensor.shape) >= 4])
            self.output = find_output(
                graph, options.output, "samples", "--output", pictures if len(pictures) == 1 else suited
            )
        questions.settle()  # nothing can be run before these are answered
        self._labels_found = ""
        if inside:
            options = self._with_labels_inside(options)
            self.inputs = GeneratorInputs(graph, options)
        self.values = self.inputs.values
        self._try_out(options)

    def _with_labels_inside(self, options: OnnxOptions) -> OnnxOptions:
        """Return the options with the place of the labels in the latents; ask for it where nothing shows it."""
        width = sum(tensor.size or 0 for tensor in self.graph.inputs if tensor.is_float)
        try:
            found = find_place(self.graph, options, self.output.name)
        except ExportError as error:
            raise self.graph.error(f"fails: {error}") from error
        if found is None:
            last = width - self.label_count
            self._questions.ask(
                f"the {self.graph.name} has no input for {self.label_count} labels. If they are one-hot values inside "
                f"its latents, say where they begin: --labels-at {last} (at the end) or --labels-at 0 (at the start). "
                "If it takes none, leave --labels out"
            )
            return replace(options, labels_at=last)  # only to find further questions; these end the command
        self._labels_found = f" ({found[1]})"
        return replace(options, labels_at=found[0])

    def _ask_about_labels(self, options: OnnxOptions) -> None:
        """Ask whether latents that change samples far more than the others are labels."""
        if self.label_count or options.latents is not None:
            return
        found = suspected(self.graph, self.inputs, self.output.name)
        if found is not None:
            first, count = found
            names = ",".join(tensor.name for tensor in self.inputs.latents)
            self._questions.ask(
                f"the {'last' if first else 'first'} {count} values of the latents of the {self.graph.name} change "
                f"samples far more than the others. If they are labels, one-hot, add --labels with {count} names; if "
                f"they are random like the others, add --latents {names}"
            )

    def _try_out(self, options: OnnxOptions) -> None:
        """Draw samples, learn their form, and check that no sample depends on another."""
        try:
            self.graph.learn_batching(lambda count: self.inputs.encode(*self._some(count)), self.output.name)
            count = self.graph.tries
            latents, labels = self._some(count)
            raw = self.raw(latents, labels)
        except ExportError as error:
            hint = f". Are there {self.label_count} labels? List them all with --labels" if self.label_count else ""
            raise self.graph.error(f"fails for {BATCH} samples: {error}{hint}") from error
        shape = list(raw.shape)
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise self.graph.error("gives values that are not finite: export an earlier checkpoint")
        self.element = raw.dtype.name
        check_alone(
            lambda *given: torch.from_numpy(np.array(self.raw(*given), np.float32)),
            [latents] if labels is None else [latents, labels],
            tuple(shape[1:]),
            self.graph.name,
            rounding=LEVEL_ROUNDING if self.element == "uint8" else self.graph.rounding,
            advice=self.graph.advice,
        )
        self.layout: LayoutName | None = None
        self.pixel_range: PixelRange | None = None
        self.range_found = ""
        self._extents: tuple[int, ...] | None = None
        self.video = Video.of(shape, options.video) if len(shape) == 5 else None
        raw = self._shaped(raw, options) if self.video is None else self._frames(self.video, raw)
        shape = list(raw.shape)
        if len(shape) == 2 and raw.dtype.kind == "f":
            if options.range is not None:
                raise ExportError(
                    f"--range {options.range}: the {self.graph.name} makes vectors of {shape[1]} values, and only "
                    "images have a range. Leave it out, give their shape with --shape, or export with the reshape to "
                    "[N, C, H, W] inside"
                )
        elif len(shape) == 4 and (raw.dtype.kind == "f" or raw.dtype == np.uint8):
            made_here = self._extents is not None or self.video is not None
            self.layout = self._layout(shape, "nchw" if made_here and options.layout == "auto" else options.layout)
            if raw.dtype.kind == "f":
                self._find_range(raw, options)
        else:
            raise self.graph.error(self._unknown_form(raw))
        samples = self.samples_of(raw)
        self._check_truncation(options, samples)
        self._ask_about_labels(options)
        self.sample_shape = tuple(samples.shape[1:])
        # Mean and spread of vectors: the units of differences.
        self.mean = tuple(samples.mean(dim=0).tolist()) if self.layout is None else ()
        self.std = tuple(samples.std(dim=0).clamp(min=1e-12).tolist()) if self.layout is None else ()

    def _frames(self, video: Video, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return images of videos; a control for the frame joins the latents."""
        if video.control is not None:
            if any(control.name == video.control.name for control in self.values.controls):
                raise BadUsageError("--video frames: there is a control called frame already. Use --video strip")
            self.values = replace(self.values, controls=(*self.values.controls, video.control))
            self.inputs.values = self.values
        return video.images(raw, None if video.control is None else np.zeros(len(raw), np.float32))

    def _check_truncation(self, options: OnnxOptions, samples: torch.Tensor) -> None:
        """Refuse an input for psi that does not make samples alike, so that it must mean something else."""
        truncation = self.inputs.truncation
        if truncation is None:
            return
        latents, labels = self._some(len(samples))
        if labels is not None:
            labels = torch.zeros_like(labels)
        spreads = []
        for psi in (1.0, 0.0):
            drawn = self(latents, labels, torch.full((len(latents), truncation.layers), psi))
            spreads.append(float(drawn.to(torch.float64).std(dim=0).mean()))
        if not spreads[1] < _KEPT * spreads[0]:
            raise BadUsageError(
                f"--truncation-input {options.truncation_input}: samples vary by {spreads[0]:.3g} at 1 and by "
                f"{spreads[1]:.3g} at 0, so it does not truncate. Declare it with --control or --constant"
            )

    def _some(self, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Draw latents, and labels of which the last one is the highest."""
        latents = self.values.draw(count, torch.Generator().manual_seed(SEED))
        labels = torch.arange(count) % self.label_count if self.label_count else None
        if labels is not None:
            labels[-1] = self.label_count - 1
        return latents, labels

    def _shaped(self, raw: npt.NDArray[Any], options: OnnxOptions) -> npt.NDArray[Any]:
        """Give values in one row, or gray images without an axis for it, the shape that the user states."""
        stated = options.image_shape
        if stated is None:
            return raw
        height, width, channels = stated
        values = int(np.prod(raw.shape[1:]))
        if values != height * width * channels:
            raise ExportError(
                f"--shape {options.shape}: has {height * width * channels:,} values, and a sample of the "
                f"{self.graph.name} has {values:,} ({_form(list(raw.shape))})"
            )
        if raw.ndim == 4:
            raise ExportError(f"--shape {options.shape}: the {self.graph.name} makes images already. Leave it out")
        if channels > 1 and options.layout == "auto":
            self._questions.ask(
                f"the {self.graph.name} gives {channels} channels in one row: say with --layout nchw that one channel "
                "follows another (PyTorch's view), or with --layout nhwc that one pixel follows another (Keras)"
            )
        self._extents = (height, width, channels) if options.layout == "nhwc" else (channels, height, width)
        return raw.reshape(len(raw), *self._extents)

    def _find_range(self, raw: npt.NDArray[Any], options: OnnxOptions) -> None:
        last = last_operation(self.graph.model, self.output.name)
        try:
            self.pixel_range, self.range_found = check_range(raw, options.range, self.graph.name, last)
        except UnclearError as question:
            self._questions.ask(question)
            self.pixel_range = "-1..1"  # only to find further questions; these end the command

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
            self._questions.ask(
                f"the {self.graph.name} gives {_form(shape)}: say which axis is the channels with --layout nchw or nhwc"
            )
        return possible[0]

    def _unknown_form(self, raw: npt.NDArray[Any]) -> str:
        shape = list(raw.shape)
        if len(shape) == 3 and min(shape[1:]) <= 2 and max(shape[1:]) >= _AUDIO:
            return (
                f"gives {_form(shape)}, by its shape sound of {max(shape[1:]):,} values: sound cannot be served yet, "
                "only images and vectors"
            )
        gray = f", or --shape {shape[1]}x{shape[2]}x1 if these are gray images" if len(shape) == 3 else ""
        return (
            f"gives {raw.dtype} {_form(shape)} as {self.output.name}; expected images "
            f"[N, C, H, W] or [N, H, W, C], floats or uint8, or vectors [N, D] of floats{gray}"
        )

    def _row_hint(self) -> str:
        """Return which square image a vector could be, gray or coloured; empty: none of its length."""
        for channels in (1, 3):
            side = math.isqrt(self.sample_shape[0] // channels)
            if side >= _LEAST_SIDE and side * side * channels == self.sample_shape[0]:
                return f" (if these are images in one row, add --shape {side}x{side}x{channels})"
        return ""

    def raw(
        self, latents: torch.Tensor, labels: torch.Tensor | None = None, psi: torch.Tensor | None = None
    ) -> npt.NDArray[Any]:
        """Return the foreign graph's own output for latents [N, Z], labels [N] and psi [N, L]."""
        return self.graph.run(self.inputs.encode(latents, labels, psi), [self.output.name])[0]

    def samples_of(self, raw: npt.NDArray[Any], frames: npt.NDArray[np.float32] | None = None) -> torch.Tensor:
        """Convert the foreign graph's output to samples; `frames` [N] are those chosen of videos."""
        if self.video is not None and raw.ndim == 5:
            raw = self.video.images(raw, frames)
        if self._extents is not None:
            raw = raw.reshape(len(raw), *self._extents)
        samples = raw.astype(np.float32) if self.layout is None else to_levels(raw, self.pixel_range, self.layout)
        return torch.from_numpy(samples)

    def __call__(
        self, latents: torch.Tensor, labels: torch.Tensor | None = None, psi: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw samples uint8 [N, H, W, C] or float32 [N, D] with the foreign graph and numpy around it."""
        rows = max(self.graph.rows, 1)

        def part(at: int) -> torch.Tensor:
            given = [None if values is None else values[at : at + rows] for values in (labels, psi)]
            frames = None
            if self.video is not None and self.video.control is not None:
                frames = latents[at : at + rows, -1].numpy()
            return self.samples_of(self.raw(latents[at : at + rows], *given), frames)

        return torch.cat([part(at) for at in range(0, len(latents), rows)])

    def truncated(self, latents: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """Draw samples from labels, if it takes them, and psi."""
        *labels, psi = others
        return self(latents, labels[0] if labels else None, psi)

    @property
    def style(self) -> model_spec_pb2.StyleSpec | None:
        """Return the manifest's description of its truncation in W; None if it has no input for that."""
        found = self.inputs.truncation
        if found is None:
            return None
        return model_spec_pb2.StyleSpec(layers=found.layers, default_truncation=found.default)

    def wrap(self) -> onnx.ModelProto:
        """Return the package's graph: latents float32 [N, Z] and labels int64 [N] -> samples."""
        latents, labels = self._some(min(_PROOFS, max(self.graph.rows, 2)))
        surgery = Surgery(self.graph.servable(self.inputs.encode(latents, labels), [self.output.name]))
        self.inputs.add(surgery)
        value = surgery.take(self.output.name)
        if self.video is not None:
            value = self.video.add_images(surgery, value, "latents", self.values.dim - 1)
        if self._extents is not None:
            value = surgery.node("Reshape", value, surgery.constant([-1, *self._extents], np.int64))
        if self.layout is not None:
            value = add_to_levels(surgery, value, self.pixel_range, self.layout)
        elif self.element != "float32":
            value = surgery.cast(value, "float32")
        surgery.emit("samples", value)
        samples = ("float32" if self.layout is None else "uint8", self.sample_shape)
        taken: dict[str, tuple[str, tuple[int, ...]]] = {"latents": ("float32", (self.values.dim,))}
        if self.inputs.truncation is not None:
            taken["psi"] = ("float32", (self.inputs.truncation.layers,))
        return surgery.finish(taken, {"samples": samples}, has_labels=self.inputs.takes_labels)

    def __str__(self) -> str:
        """Say how it was understood."""
        understood, given = f"{self.inputs}{self._labels_found}", f"{self.output.name} {self.element}"
        batch = f", computes {self.graph.batching}" if str(self.graph.batching) else ""
        batch += f": {self.graph.form}" if self.graph.form else ""
        if self.layout is None:
            return f"{understood} -> {given} -> vectors [N, {self.sample_shape[0]}]{self._row_hint()}{batch}"
        given = f"{given} {self.layout}" if self.video is None else f"{given}, {self.video}"
        scale = f", {self.pixel_range}{self.range_found}" if self.pixel_range else ""
        return f"{understood} -> {given}{scale} -> images {list(self.sample_shape)}{batch}"


def _form(shape: list[int]) -> str:
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"
