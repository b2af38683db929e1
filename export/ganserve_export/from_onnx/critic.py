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
from ganserve_export.from_onnx.generator import SEED, ForeignGenerator
from ganserve_export.from_onnx.labels import encode_labels, feed_labels
from ganserve_export.from_onnx.last_operation import last_operation
from ganserve_export.from_onnx.onnx_options import OnnxOptions, PixelRange
from ganserve_export.from_onnx.pixels import LayoutName, add_from_levels, from_levels
from ganserve_export.from_onnx.questions import Questions, UnclearError
from ganserve_export.from_onnx.surgery import Declared, Surgery
from ganserve_export.from_onnx.tensor_roles import (
    Layouts,
    find_labels,
    find_named_output,
    find_output,
    find_samples_input,
)
from ganserve_export.package.batch_independence import check_alone
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.rows_at_once import samples_to_compare

_EXTREMES, _PROOFS = 8, 5
_SURELY_REAL = 0.9  # a probability; trained discriminators rarely give generated samples more
_CLEARLY_REVERSED = 0.25  # share of pairs with the higher score for the real sample; overfitting costs less
_CLOSEST = 1e-7  # Distance of a probability from 0 and 1, so that its log odds are finite.


class ForeignCritic:
    """A critic, analysed and tried on the generator's samples; ExportError if that fails. `questions` gets the rest."""

    def __init__(
        self, graph: ForeignGraph, generator: ForeignGenerator, options: OnnxOptions, questions: Questions
    ) -> None:
        self.graph = graph
        self._questions = questions
        self._all_labels = generator.label_count
        self._sample_shape = generator.sample_shape
        layouts: Layouts = frozenset()
        with questions.collected():
            self.samples, layouts = find_samples_input(graph, options.critic_samples, generator.sample_shape)
        questions.settle_if(not layouts)
        flag = "--critic-labels"
        with questions.collected():
            self.labels = find_labels(
                graph, options.critic_labels, [self.samples], self._all_labels, required=False, flag=flag
            )
        questions.settle_if(not hasattr(self, "labels"))
        self._sign = -1.0 if options.score_higher == "generated" else 1.0
        self._sign_is_known = options.score_higher != "auto"
        self.layout: LayoutName | None = None
        if generator.layout is not None and "flat" not in layouts:
            self.layout = generator.layout if generator.layout in layouts else "nchw" if "nchw" in layouts else "nhwc"
        elif generator.layout is not None:
            self.layout = generator.layout
        self.pixel_range: PixelRange | None = None
        if self.layout is not None and self.samples.is_float:
            self.pixel_range = generator.pixel_range or options.range
            if self.pixel_range is None:
                questions.ask(
                    f"the {graph.name} takes images as floats ({self.samples}): say what black and white are with "
                    "--range -1..1, 0..1 or 0..255"
                )
                self.pixel_range = "-1..1"  # only to find further questions; these end the command
        self._try_out(generator, options)

    @property
    def label_count(self) -> int:
        """Return the number of labels that it takes; 0: none."""
        return 0 if self.labels is None else self._all_labels

    def _try_out(self, generator: ForeignGenerator, options: OnnxOptions) -> None:
        """Find the output with one value per sample, and check that no score depends on another sample."""
        count = samples_to_compare(int(np.prod(self._sample_shape)))
        latents = generator.values.draw(count, torch.Generator().manual_seed(SEED))
        labels = torch.arange(count) % self._all_labels if self._all_labels else None
        samples = generator(latents, labels)
        names = [tensor.name for tensor in self.graph.outputs]
        named = find_named_output(self.graph, options.critic_scores, "scores", "--critic-scores")

        def feed(size: int) -> dict[str, npt.NDArray[Any]]:
            chosen = torch.arange(size) % count
            return self._feed(samples[chosen], None if labels is None else labels[chosen])

        try:
            self.graph.learn_batching(feed, named or self._only_single(feed, names))
            values = dict(zip(names, self.graph.run(feed(count)), strict=True))
        except UnclearError:
            raise
        except ExportError as error:
            raise self.graph.error(f"fails for {count} samples: {error}") from error
        single = [tensor for tensor in self.graph.outputs if tensor.is_float and _is_single(values[tensor.name], count)]
        with self._questions.collected():
            self.output = find_output(self.graph, options.critic_scores, "scores", "--critic-scores", single)
        self._questions.settle_if(not hasattr(self, "output"))
        raw = values[self.output.name]
        if self.output not in single:
            given = f"{raw.dtype} {list(raw.shape)} for {count} samples as {self.output.name}"
            raise self.graph.error(
                f"gives {given}; expected one float per sample, [N] or [N, 1]. Export one value: the mean of a critic "
                "of patches, or the logit that a classifier has for real samples; and with x.shape[0] in place of a "
                "fixed batch size"
            )
        self._find_meaning(raw, samples, labels, options)
        if not torch.isfinite(self.scores(samples, labels)).all():
            raise self.graph.error("gives samples scores that are not finite: export an earlier checkpoint")
        check_alone(
            self.scores,
            [samples] if labels is None or self.labels is None else [samples, labels],
            (),
            self.graph.name,
            rounding=self.graph.rounding,
            advice=f"{self.graph.advice}, or package the generator alone",
        )
        some = min(_PROOFS, count)
        self._proof = self._feed(samples[:some], None if labels is None else labels[:some])

    def _only_single(self, feed: Callable[[int], dict[str, npt.NDArray[Any]]], names: list[str]) -> str:
        """Return the output that gives the fewest values for a batch: the scores, if their batch axis is free."""
        try:
            sizes = [values.size for values in self.graph.run(feed(2))]
        except ExportError:
            return names[0]
        return names[int(np.argmin(sizes))]

    def _find_meaning(
        self, raw: npt.NDArray[Any], samples: torch.Tensor, labels: torch.Tensor | None, options: OnnxOptions
    ) -> None:
        """Find out whether the output is a probability, by its last operation or by its values."""
        last = last_operation(self.graph.model, self.output.name)
        ends_in_sigmoid = last is not None and last.name == "Sigmoid" and options.critic_output != "score"
        logits = last.input if last is not None and ends_in_sigmoid and last.in_main_graph else None
        self._value = logits or self.output.name
        self._is_probability = logits is None and (options.critic_output == "probability" or ends_in_sigmoid)
        self._ends_in_sigmoid = logits is not None
        if logits is not None:
            self.graph.expose(logits)
        low, high = float(raw.min()), float(raw.max())
        if self._is_probability and not (low >= 0.0 and high <= 1.0):
            raise ExportError(
                f"--critic-output probability: the {self.graph.name} gives {low:.3g} to "
                f"{high:.3g} as {self.output.name}, which are not probabilities. Use --critic-output score"
            )
        if self._is_probability or self._ends_in_sigmoid:
            self._ask_sign(raw, options)
        if self._is_probability or self._ends_in_sigmoid or options.critic_output != "auto":
            return
        extreme = self.graph.run(self._feed(self._extremes(samples), _repeated(labels, _EXTREMES)), [self.output.name])
        values = np.concatenate([raw.reshape(-1), extreme[0].reshape(-1)]).astype(np.float64)
        if values.min() >= 0.0 and values.max() <= 1.0 and np.ptp(values) > 0.0:
            self._questions.ask(
                f"the {self.graph.name} gives {values.min():.3g} to {values.max():.3g} as {self.output.name}, also for "
                "extreme samples: say whether these are probabilities, with --critic-output probability or score"
            )

    def _ask_sign(self, probabilities: npt.NDArray[Any], options: OnnxOptions) -> None:
        """Ask which samples score higher if generated ones look real, and no data can tell."""
        usual = float(np.median(probabilities))
        if usual > _SURELY_REAL and not self._sign_is_known and options.data is None:
            self._questions.ask(
                f"the {self.graph.name} gives generated samples {usual:.3g}, near 1: if its 1 means real, say "
                "--score-higher real; if it means generated, --score-higher generated. --data with real samples "
                "tells, too"
            )

    def learn_sign(self, calibration: LogisticCalibration) -> bool:
        """Take the sign from held-out real samples; return whether the scores changed, so that the fit must, too.

        Raises:
            ExportError: Real samples score lower than generated ones, but not clearly.
        """
        if self._sign_is_known:
            return False
        if not calibration.below_chance:
            self._sign_is_known = calibration.informative
            return False
        if calibration.raw_auc > _CLEARLY_REVERSED:
            raise ExportError(
                f"the {self.graph.name} scores held-out real samples above generated ones only "
                f"{calibration.raw_auc:.0%} of the time (chance 50%): it has overfitted, or its higher scores mean "
                "generated. Say --score-higher real or --score-higher generated"
            )
        self._sign, self._sign_is_known = -1.0, True
        return True

    def _extremes(self, samples: torch.Tensor) -> torch.Tensor:
        """Return samples that a critic should find clearly generated: black, white, noise, halves."""
        random = torch.Generator().manual_seed(SEED)
        shape = (_EXTREMES, *self._sample_shape)
        if self.layout is None:
            spread = samples.std(dim=0).clamp(min=1e-6)
            return samples.mean(dim=0) + torch.randn(shape, generator=random) * spread * 10
        extreme = torch.randint(0, 2, shape, generator=random).mul(255).to(torch.uint8)
        extreme[0], extreme[1] = 0, 255
        return extreme

    def _feed(self, samples: torch.Tensor, labels: torch.Tensor | None) -> dict[str, npt.NDArray[Any]]:
        if self.layout is not None:
            given = from_levels(samples.numpy(), self.pixel_range, self.layout, self.samples.element)
            if len(self.samples.shape) == 2:
                given = given.reshape(len(given), -1)
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
        surgery = Surgery(self.graph.servable(self._proof, [self._value]))
        value = "samples"
        if self.layout is not None:
            value = add_from_levels(surgery, value, self.pixel_range, self.layout, self.samples.element)
            if len(self.samples.shape) == 2:
                flat = surgery.constant([-1, int(np.prod(self._sample_shape))], np.int64)
                value = surgery.node("Reshape", value, flat)
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
        batch = f", computes {self.graph.batching}" if str(self.graph.batching) else ""
        batch += f": {self.graph.form}" if self.graph.form else ""
        higher = "real higher" if self._sign > 0 else "generated higher"
        higher += "" if self._sign_is_known else ", assumed"
        return f"{taken} -> {self.output.name} ({what}; {higher}){batch}"


def _is_single(values: npt.NDArray[Any], count: int) -> bool:
    return bool(values.ndim) and len(values) == count and values.size == count


def _repeated(labels: torch.Tensor | None, count: int) -> torch.Tensor | None:
    return None if labels is None else labels[torch.arange(count) % len(labels)]
