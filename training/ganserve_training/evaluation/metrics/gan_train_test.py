"""GAN-train and GAN-test: how well classifiers learn from and recognise generated, labelled samples."""

from dataclasses import asdict
from typing import Any

from ganserve_training.evaluation.judge import GAN_TEST_AT_LEAST, GAN_TRAIN_AT_LEAST, judge_samples
from ganserve_training.evaluation.metric import DataTraits, Figure, Material, Metric


def _measure(material: Material) -> dict[str, Any]:
    assert material.labels is not None
    return asdict(judge_samples(material.samples, material.labels, material.train, material.held_out))


def _missing(traits: DataTraits) -> str:
    suits = traits.has_labels and traits.takes_labels
    return "" if suits else "labelled data and a generator that takes their labels"


METRIC = Metric(
    name="gan-train-test",
    measure=_measure,
    figures={
        "gan_test": Figure(
            "GAN-test", f"at least {GAN_TEST_AT_LEAST}", "share of samples that the judge gives the requested label"
        ),
        "gan_train": Figure(
            "GAN-train",
            f"at least {GAN_TRAIN_AT_LEAST}",
            "share of held-out real samples that a judge trained on generated ones gets right",
        ),
        "judge_accuracy": Figure(
            "judge's accuracy", "", "share of held-out real samples that the judge trained on real ones gets right"
        ),
    },
    missing=_missing,
    by_default=lambda traits: not traits.has_modes,
    position=7,
)
