"""``ganserve evaluate``: how good a run's samples are, in three numbers and words."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ganserve_training.errors import ConfigError, TrainingError
from ganserve_training.evaluate import EVALUATION_SAMPLES, EVALUATION_SEED, Evaluation, evaluate_run
from ganserve_training.judge import GAN_TEST_AT_LEAST, GAN_TRAIN_AT_LEAST, NN_DISTANCE_RATIO_WITHIN


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateArguments:
    """What to judge."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder, such as runs/digits."""
    samples: int = EVALUATION_SAMPLES
    """Samples to draw, with balanced labels."""
    seed: int = EVALUATION_SEED
    """Seed of their latents."""
    json: bool = False
    """Write the figures as one JSON object instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    try:
        arguments = tyro.cli(
            EvaluateArguments,
            args=list(argv),
            prog="ganserve evaluate",
            description="Judge samples of a run's averaged generator, and save the figures in RUN/metrics.json.",
        )
        evaluation = evaluate_run(arguments.run, samples=arguments.samples, seed=arguments.seed)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"ganserve evaluate: error: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        sys.stdout.write(json.dumps({"run": str(arguments.run), **evaluation.to_dict()}) + "\n")
    else:
        sys.stdout.write(describe(arguments.run, evaluation))
    return 0


def describe(run: Path, evaluation: Evaluation) -> str:
    """The figures with their meaning and what counts as good."""
    judgement = evaluation.judgement
    low, high = NN_DISTANCE_RATIO_WITHIN
    rows = [
        (
            "GAN-test",
            judgement.gan_test,
            f"(good: at least {GAN_TEST_AT_LEAST})",
            "generated samples that the judge gives the requested label",
        ),
        (
            "GAN-train",
            judgement.gan_train,
            f"(good: at least {GAN_TRAIN_AT_LEAST})",
            "held-out real samples that a judge trained on generated ones gets right",
        ),
        (
            "NN distance ratio",
            judgement.nn_distance_ratio,
            f"(good: {low} to {high})",
            "distance to the nearest training sample: 1 like real ones, 0 copies",
        ),
    ]
    lines = [f"{name:<17}  {value:.3f}  {good:<21}  {meaning}\n" for name, value, good, meaning in rows]
    head = (
        f"{run}, step {evaluation.step}, {evaluation.samples} samples; "
        f"a judge trained on real samples gets {judgement.judge_accuracy:.3f} of held-out real ones right\n"
    )
    return head + "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
