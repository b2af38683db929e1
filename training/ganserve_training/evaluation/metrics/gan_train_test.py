"""GAN-train and GAN-test: how well classifiers learn from and recognise generated, labelled samples."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ganserve_training.evaluation.judge import judge_samples
from ganserve_training.evaluation.metric import Beside, DataTraits, Figure, Material, Metric


def _measure(material: Material) -> dict[str, Any]:
    assert material.labels is not None
    return asdict(judge_samples(material.samples, material.labels, material.train, material.held_out))


def _beside_real(material: Material, found: Mapping[str, float]) -> dict[str, Beside]:
    """Return both figures beside the judge's own accuracy on the same labels; the worst are those of guesses."""
    assert material.labels is not None
    assert material.held_out.labels is not None
    real = {"gan_test": found["judge_accuracy_as_asked"], "gan_train": found["judge_accuracy"]}
    guesses = {"gan_test": material.labels, "gan_train": material.held_out.labels}
    return {
        name: Beside(found[name], real[name], worst=float(np.bincount(labels).max() / len(labels)))
        for name, labels in guesses.items()
    }


def _missing(traits: DataTraits) -> str:
    suits = traits.has_labels and traits.takes_labels
    return "" if suits else "labelled data and a generator that takes their labels"


METRIC = Metric(
    name="gan-train-test",
    measure=_measure,
    figures={
        "gan_test": Figure("GAN-test", "share of samples that the judge gives the requested label", "share"),
        "gan_train": Figure(
            "GAN-train", "share of held-out real samples that a judge trained on generated ones gets right", "share"
        ),
        "judge_accuracy": Figure(
            "judge's accuracy", "share of held-out real samples that the judge trained on real ones gets right"
        ),
    },
    beside_real=_beside_real,
    missing=_missing,
    by_default=lambda traits: not traits.has_modes,
    position=7,
)
