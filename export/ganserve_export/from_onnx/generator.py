"""A generator that was made elsewhere: what it takes and gives, its samples, and its graph for a package.

N = batch, Z = latent, K = labels, H, W, C = image, D = vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.pixels import LayoutName, PixelRange, add_to_levels, check_range, to_levels
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import find_labels, find_latents, find_output
from ganserve_export.from_run.batch_independence import BATCH, RELATIVE_TOLERANCE, check_alone
from ganserve_training.networks.latents import LatentPrior

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx
    from ganserve_training.config.networks import LatentDistribution

    from ganserve_export.from_onnx.onnx_files import Port, Source
    from ganserve_export.from_onnx.tensor_roles import LabelPort

    IntArray = npt.NDArray[np.int64]

SEED = 0
# How far two results of the same sample may lie apart by rounding, as a share of the largest value.
HALF_ROUNDING, LEVEL_ROUNDING = 2e-3, 1.01 / 255
EVAL_MODE = (
    "export it in eval mode (model.eval() before torch.onnx.export; training=False in Keras), and freeze what still "
    "looks at other samples, such as minibatch statistics"
)


class ForeignGenerator:
    """A generator, recognised and tried out.

    Args:
        source: Its graph.
        label_count: How many labels the user names; 0: none.
        distribution: What it draws its latents from.
        pixel_range: What black and white are, for float images.
        layout: Of images; auto: by the number of channels.
        latents: Name of its input for latents; None: to be found.
        labels: Name of its input for labels; None: to be found.
        output: Name of its output; None: to be found.

    Raises:
        ExportError: It is not understood without doubt, or cannot be served.
    """

    def __init__(
        self,
        source: Source,
        *,
        label_count: int,
        distribution: LatentDistribution,
        pixel_range: PixelRange | None,
        layout: Literal["auto", "nchw", "nhwc"],
        latents: str | None,
        labels: str | None,
        output: str | None,
    ) -> None:
        self.source = source
        self.label_count = label_count
        self.latents: Port = find_latents(source, latents, label_count, labels)
        self.labels: LabelPort | None = find_labels(
            source, labels, self.latents, label_count, required=True, flag="--labels-input"
        )
        suited = [port for port in source.outputs if len(port.shape) in (2, 4) and port.element != "int64"]
        self.output = find_output(source, output, "samples", "--output", suited)
        assert self.latents.size is not None  # find_latents has seen to it
        self.prior = LatentPrior(dim=self.latents.size, distribution=distribution, continuous_codes=0)
        self._try_out(pixel_range, layout)

    def _try_out(self, pixel_range: PixelRange | None, layout: Literal["auto", "nchw", "nhwc"]) -> None:
        """Learns the form of the samples from samples, and checks that each is alone."""
        latents = self.prior.draw(BATCH, torch.Generator().manual_seed(SEED))
        labels = torch.arange(BATCH) % self.label_count if self.label_count else None
        if labels is not None:
            labels[-1] = self.label_count - 1
        try:
            raw = self.raw(latents.numpy(), labels.numpy() if labels is not None else None)
        except ExportError as error:
            hint = f" Are there {self.label_count} labels? List them all with --labels" if self.label_count else ""
            raise ExportError(f"the {self.source.name} fails for {BATCH} samples: {error}.{hint}") from error
        shape = list(raw.shape)
        if not shape or shape[0] != BATCH:
            raise ExportError(
                f"the {self.source.name} gives {shape} for {BATCH} samples, though its batch axis is declared as open: "
                "export it again with a dynamic batch (x.shape[0] instead of len(x) or a number)"
            )
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise ExportError(f"the {self.source.name} gives values that are not finite: export an earlier checkpoint")
        self.element = raw.dtype.name
        check_alone(
            lambda *given: torch.from_numpy(np.array(self.raw(*(value.numpy() for value in given)), np.float32)),
            [latents] if labels is None else [latents, labels],
            tuple(shape[1:]),
            self.source.name,
            rounding=LEVEL_ROUNDING if self.element == "uint8" else rounding_of(self.source),
            advice=EVAL_MODE,
        )
        self.layout: LayoutName | None = None
        self.pixel_range: PixelRange | None = None
        if len(shape) == 2 and raw.dtype.kind == "f":
            if pixel_range is not None:
                raise ExportError(
                    f"--range is for images; the {self.source.name} makes vectors of {shape[1]} values: leave it out "
                    "(or export it with the reshape to [N, C, H, W] inside)"
                )
        elif len(shape) == 4 and (raw.dtype.kind == "f" or raw.dtype == np.uint8):
            self.layout = self._layout(shape, layout)
            if raw.dtype.kind == "f":
                self.pixel_range = check_range(raw, pixel_range, self.source.name)
        else:
            raise ExportError(
                f"the {self.source.name} gives {raw.dtype} {_form(shape)} as {self.output.name}; expected images "
                "[N, C, H, W] or [N, H, W, C], floats or uint8, or vectors [N, D] of floats"
            )
        samples = self(latents, labels)
        self.sample_shape = tuple(samples.shape[1:])
        # The spread that vectors have, which differences are measured by.
        self.mean = tuple(samples.float().mean(dim=0).tolist()) if self.layout is None else ()
        self.std = tuple(samples.float().std(dim=0).clamp(min=1e-12).tolist()) if self.layout is None else ()

    def _layout(self, shape: list[int], stated: Literal["auto", "nchw", "nhwc"]) -> LayoutName:
        """Where the channels, of which there are 1 to 4, are."""
        possible: list[LayoutName] = []
        if shape[1] <= 4:
            possible.append("nchw")
        if shape[3] <= 4:
            possible.append("nhwc")
        if stated != "auto":
            possible = [layout for layout in possible if layout == stated]
        if not possible:
            raise ExportError(
                f"the {self.source.name} gives {_form(shape)}; expected images of 1 to 4 channels, [N, C, H, W] "
                f"or [N, H, W, C]{'' if stated == 'auto' else f' (--layout {stated})'}"
            )
        if len(possible) == 2:
            raise ExportError(
                f"the {self.source.name} gives {_form(shape)}: say which axis is the channels with --layout nchw "
                "or --layout nhwc"
            )
        return possible[0]

    def raw(self, latents: npt.NDArray[np.float32], labels: IntArray | None = None) -> npt.NDArray[Any]:
        """The foreign graph's own output for latents [N, Z] and labels [N]."""
        feed = {self.latents.name: latents.reshape(len(latents), *self.latents.extents).astype(self.latents.element)}
        if self.labels is not None and labels is not None:
            feed[self.labels.port.name] = encode_labels(labels, self.labels, self.label_count)
        return self.source.run(feed, [self.output.name])[0]

    def __call__(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Sample uint8 [N, H, W, C] or float32 [N, D]: the foreign graph, and numpy for what is around it."""
        raw = self.raw(latents.numpy(), None if labels is None else labels.numpy())
        samples = raw.astype(np.float32) if self.layout is None else to_levels(raw, self.pixel_range, self.layout)
        return torch.from_numpy(samples)

    def wrap(self) -> onnx.ModelProto:
        """The package's graph: latents float32 [N, Z] and labels int64 [N] -> samples."""
        surgery = Surgery(self.source)
        value = "latents"
        if len(self.latents.shape) > 2:
            shape = surgery.constant([-1, *self.latents.extents], np.int64)
            value = surgery.node("Reshape", value, shape)
        if self.latents.element != "float32":
            value = surgery.cast(value, self.latents.element)
        surgery.feed(self.latents.name, value)
        if self.labels is not None:
            feed_labels(surgery, self.labels, self.label_count)
        value = surgery.take(self.output.name)
        if self.layout is not None:
            value = add_to_levels(surgery, value, self.pixel_range, self.layout)
        elif self.element != "float32":
            value = surgery.cast(value, "float32")
        surgery.emit("samples", value)
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {"latents": ("float32", (self.prior.dim,))}
        if self.labels is not None:
            inputs["labels"] = ("int64", ())
        kind = "float32" if self.layout is None else "uint8"
        return surgery.finish(inputs, {"samples": (kind, self.sample_shape)})

    def __str__(self) -> str:
        """What it was taken for."""
        taken = [f"latents {self.latents} ({self.prior.distribution})"]
        if self.labels is not None:
            taken.append(f"labels {self.labels.port} ({self.labels.form})")
        given = f"{self.output.name} {self.element}"
        if self.layout is None:
            return f"{', '.join(taken)} -> {given} -> vectors [N, {self.sample_shape[0]}]"
        scale = f", {self.pixel_range}" if self.pixel_range else ""
        return f"{', '.join(taken)} -> {given} {self.layout}{scale} -> images {list(self.sample_shape)}"


def rounding_of(source: Source) -> float:
    """How far two results of one sample may lie apart, as a share of the largest value."""
    return HALF_ROUNDING if source.is_half else RELATIVE_TOLERANCE


def _form(shape: list[int]) -> str:
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"
