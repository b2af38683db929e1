"""A critic that was made elsewhere: what it takes and gives, its scores, and its graph for a package.

N = batch, K = labels, H, W, C = image, D = vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.generator import EVAL_MODE, SEED, rounding_of
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.pixels import LayoutName, PixelRange, add_from_levels, from_levels
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.from_onnx.tensor_roles import find_labels, find_output, find_samples_input
from ganserve_export.from_run.batch_independence import BATCH, check_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import onnx

    from ganserve_export.from_onnx.generator import ForeignGenerator
    from ganserve_export.from_onnx.onnx_files import Source
    from ganserve_export.package.calibration import LogisticCalibration

    IntArray = npt.NDArray[np.int64]

OutputKind = Literal["auto", "score", "probability"]
_CLOSEST = 1e-7  # A probability's distance from 0 and 1, so that its log odds are finite.


class ForeignCritic:
    """A critic, recognised and tried out on the generator's samples.

    Args:
        source: Its graph.
        generator: Whose samples it judges.
        pixel_range: What black and white are to it, where it takes floats.
        output_kind: What its output is; auto: a probability if it ends in a sigmoid, else a score.
        score_higher: Which samples it gives higher outputs.
        samples: Name of its input for samples; None: to be found.
        labels: Name of its input for labels; None: to be found.
        scores: Name of its output; None: to be found.

    Raises:
        ExportError: It is not understood without doubt, or cannot be served.
    """

    def __init__(
        self,
        source: Source,
        generator: ForeignGenerator,
        *,
        pixel_range: PixelRange | None,
        output_kind: OutputKind,
        score_higher: Literal["real", "generated"],
        samples: str | None,
        labels: str | None,
        scores: str | None,
    ) -> None:
        self.source = source
        self._label_count = generator.label_count
        self._sample_shape = generator.sample_shape
        self.samples, layouts = find_samples_input(source, samples, generator.sample_shape)
        self.labels = find_labels(
            source, labels, self.samples, generator.label_count, required=False, flag="--critic-labels"
        )
        self._sign = 1.0 if score_higher == "real" else -1.0
        self.layout: LayoutName | None = None
        if generator.layout is not None:
            self.layout = generator.layout if generator.layout in layouts else "nchw" if "nchw" in layouts else "nhwc"
        self.pixel_range: PixelRange | None = None
        if self.layout is not None and self.samples.is_float:
            self.pixel_range = generator.pixel_range or pixel_range
            if self.pixel_range is None:
                raise ExportError(
                    f"the {source.name} takes images as floats ({self.samples}): say what black and white are with "
                    "--range -1..1, 0..1 or 0..255"
                )
        self._try_out(generator, scores, output_kind)

    @property
    def label_free(self) -> bool:
        """It takes no labels although the generator does."""
        return self._label_count > 0 and self.labels is None

    @property
    def label_count(self) -> int:
        """Labels that it takes."""
        return self._label_count if self.labels is not None else 0

    def _try_out(self, generator: ForeignGenerator, name: str | None, kind: OutputKind) -> None:
        """Find the output that has one value a sample, and checks that each sample is scored alone."""
        latents = generator.prior.draw(BATCH, torch.Generator().manual_seed(SEED))
        labels = torch.arange(BATCH) % self._label_count if self._label_count else None
        samples = generator(latents, labels)
        feed = self._feed(samples.numpy(), None if labels is None else labels.numpy())
        try:
            values = dict(zip((port.name for port in self.source.outputs), self.source.run(feed), strict=True))
        except ExportError as error:
            raise ExportError(f"the {self.source.name} fails for {BATCH} samples: {error}") from error
        single = [port for port in self.source.outputs if port.is_float and _is_single(values[port.name])]
        self.output = find_output(self.source, name, "scores", "--critic-scores", single)
        raw = values[self.output.name]
        if self.output not in single:
            raise ExportError(
                f"the {self.source.name} gives {raw.dtype} {list(raw.shape)} for {BATCH} samples as "
                f"{self.output.name}; expected one float a sample, [N] or [N, 1] (a critic of patches: export it with "
                "their mean inside; one that has the batch as a fixed number: with x.shape[0])"
            )
        logits = self.source.before_sigmoid(self.output.name) if kind != "score" else None
        self._value = logits or self.output.name
        self._is_probability = kind == "probability" and logits is None
        self._ends_in_sigmoid = logits is not None
        if logits is not None:
            self.source.expose(logits)
        if self._is_probability and not (raw.min() >= 0.0 and raw.max() <= 1.0):
            raise ExportError(
                f"the {self.source.name} gives {float(raw.min()):.3g} to {float(raw.max()):.3g} as {self.output.name}, "
                "which are no probabilities: use --critic-output score"
            )
        self._check_alone(samples, labels)

    def _check_alone(self, samples: torch.Tensor, labels: torch.Tensor | None) -> None:
        if not torch.isfinite(self.scores(samples, labels)).all():
            raise ExportError(
                f"the {self.source.name} scores the generator's samples as not finite: export an earlier checkpoint"
            )
        call: Callable[..., torch.Tensor] = self.scores
        check_alone(
            call,
            [samples] if labels is None or self.labels is None else [samples, labels],
            (),
            self.source.name,
            rounding=rounding_of(self.source),
            advice=f"{EVAL_MODE}, or package the generator alone",
        )

    def _feed(self, samples: npt.NDArray[Any], labels: IntArray | None) -> dict[str, npt.NDArray[Any]]:
        if self.layout is not None:
            given = from_levels(samples, self.pixel_range, self.layout, self.samples.element)
        else:
            given = samples.astype(self.samples.element)
        feed = {self.samples.name: given}
        if self.labels is not None and labels is not None:
            feed[self.labels.port.name] = encode_labels(labels, self.labels, self._label_count)
        return feed

    def scores(self, samples: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Scores float32 [N], higher for real ones: the foreign graph, and numpy for what is around it."""
        feed = self._feed(samples.numpy(), None if labels is None else labels.numpy())
        values = self.source.run(feed, [self._value])[0].astype(np.float32).reshape(-1)
        if self._is_probability:
            values = np.clip(values, np.float32(_CLOSEST), np.float32(1 - _CLOSEST))
            values = np.log(values) - np.log(np.float32(1) - values)
        return torch.from_numpy(values * np.float32(self._sign))

    def reference(self, calibration: LogisticCalibration) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        """Scores and probabilities float32 [N], as the package's graph must give them."""
        slope = torch.tensor(calibration.slope, dtype=torch.float32)
        intercepts = torch.tensor(calibration.intercepts, dtype=torch.float32)

        def judge(samples: torch.Tensor, labels: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            scores = self.scores(samples, labels)
            shift = intercepts[0] if labels is None else intercepts[labels]
            return scores, torch.sigmoid(slope * scores + shift)

        return judge

    def wrap(self, calibration: LogisticCalibration) -> onnx.ModelProto:
        """The package's graph: samples and labels int64 [N] -> scores and probabilities float32 [N]."""
        surgery = Surgery(self.source)
        value = "samples"
        if self.layout is not None:
            value = add_from_levels(surgery, value, self.pixel_range, self.layout, self.samples.element)
        elif self.samples.element != "float32":
            value = surgery.cast(value, self.samples.element)
        surgery.feed(self.samples.name, value)
        if self.labels is not None:
            feed_labels(surgery, self.labels, self._label_count)
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
        kind = "float32" if self.layout is None else "uint8"
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {"samples": (kind, self._sample_shape)}
        if self.labels is not None:
            inputs["labels"] = ("int64", ())
        return surgery.finish(inputs, {"scores": ("float32", ()), "probabilities": ("float32", ())})

    def __str__(self) -> str:
        """What it was taken for."""
        scale = f", {self.pixel_range}" if self.pixel_range else ""
        taken = f"samples {self.samples}{scale}"
        if self.labels is not None:
            taken += f", labels {self.labels.port} ({self.labels.form})"
        what = "probability" if self._is_probability else "score"
        if self._ends_in_sigmoid:
            what = "probability, its log odds taken before the sigmoid"
        return f"{taken} -> {self.output.name} ({what}; {'real' if self._sign > 0 else 'generated'} higher)"


def _is_single(values: npt.NDArray[Any]) -> bool:
    return bool(values.ndim) and len(values) == BATCH and values.size == BATCH
