"""Fit probabilities and typicality to real data, for models that were made elsewhere."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganserve_export.errors import ExportError, export_error
from ganserve_export.package.calibration import MIN_SAMPLES, LogisticCalibration, calibrate
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.typicality.typicality import Typicality, fit_typicality
from ganserve_training import Samples, TrainingError, load_split
from ganserve_training.evaluation.reference import data_config


def fit_to_data(
    data: str,
    sample_shape: tuple[int, ...],
    prior: LatentValues,
    label_names: Sequence[str],
    *,
    generate: Callable[[Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor | None], Tensor],
    critic_label_count: int,
    name: str,
) -> tuple[LogisticCalibration, Typicality | None]:
    """Fit the critic's probabilities to held-out samples of the data and generated ones, and fit what is typical.

    Args:
        data: A source or a path.
        sample_shape: Shape of the generator's samples.
        prior: Distribution of its latents.
        label_names: Names of its labels.
        generate: Makes samples, in a package's form, from latents and labels.
        score: Scores them.
        critic_label_count: Labels that the critic takes; 0: none.
        name: The generator's name in messages.

    Raises:
        ExportError: The data cannot be read, or they are not like the generator's samples.
    """
    try:
        config = data_config(data, None, sample_shape)
        held_out = load_split(config, "held_out")
        if held_out.info.sample_shape != sample_shape:
            raise ExportError(
                f"--data {data}: the {name} makes samples of shape {list(sample_shape)}, the data have "
                f"{list(held_out.info.sample_shape)}. Give the data that it learned from"
            )
        if len(held_out) < MIN_SAMPLES:
            raise ExportError(
                f"--data {data}: {len(held_out)} of its samples are held out, and probabilities need at least "
                f"{MIN_SAMPLES}. Give more data, or leave --data out"
            )
        calibration = calibrate(
            held_out,
            prior,
            lambda count, random: _labels(held_out, count, label_names, critic_label_count > 0, random),
            generate,
            score,
            label_count=critic_label_count,
        )
        return calibration, fit_typicality(load_split(config, "train"), held_out, flip=config.flip)
    except TrainingError as error:
        raise export_error(error) from error


def _labels(
    held_out: Samples, count: int, label_names: Sequence[str], required: bool, random: torch.Generator
) -> Tensor | None:
    """Return indices of the model's labels: the data's labels by name, or random ones if the critic takes no labels."""
    if not label_names:
        return None
    names, place = held_out.info.label_names, {name: index for index, name in enumerate(label_names)}
    if held_out.labels is not None and set(names) <= set(label_names):
        return torch.tensor([place[name] for name in names])[torch.from_numpy(held_out.labels[:count])]
    if required:
        theirs = f"the labels {', '.join(names[:10])}" if names else "no labels"
        raise ExportError(
            f"the critic takes labels, and the data have {theirs}: they must be among --labels, "
            f"{', '.join(label_names[:10])}"
        )
    return torch.randint(0, len(label_names), (count,), generator=random)
