"""Label balance: how often a generator without labels makes each label of the data. N = samples, K = labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.judge import sample_rows
from ganserve_training.evaluation.metric import Beside, DataTraits, Figure, Material, Metric


def label_shares(found: NDArray[np.int64], real: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return each label's share of `found`, int64 [N], divided by its share of `real`, int64 [M]: float64 [K].

    1 means as often as in the data. A label that the data lack has NaN.
    """
    expected = np.bincount(real, minlength=count) / len(real)
    measured = np.bincount(found, minlength=count) / len(found)
    return np.divide(measured, expected, out=np.full(count, np.nan), where=expected > 0.0)


def balance(shares: NDArray[np.float64]) -> float:
    """Return the smallest of all shares and of their reciprocals, from 0 (a label is missing) to 1 (all are even)."""
    known = shares[np.isfinite(shares)]
    return float(np.minimum(known, 1.0 / np.maximum(known, np.finfo(np.float64).tiny)).min())


def _measure(material: Material) -> dict[str, Any]:
    real = material.train.labels
    assert real is not None
    found = material.reference.judge.predict(material.values)
    shares = label_shares(found, real, len(material.train.info.label_names))
    return {"label_balance": balance(shares), "label_share_by_label": tuple(shares.tolist())}


def _beside_real(material: Material, found: Mapping[str, float]) -> dict[str, Beside]:
    """Return the balance of all samples, as few have a poor one by chance, beside that of the held-out samples."""
    assert material.train.labels is not None
    real = material.reference.judge.predict(sample_rows(material.held_out))
    shares = label_shares(real, material.train.labels, len(material.train.info.label_names))
    return {"label_balance": Beside(found["label_balance"], balance(shares))}


def _missing(traits: DataTraits) -> str:
    return "" if traits.has_labels and not traits.takes_labels else "labelled data and a generator without their labels"


METRIC = Metric(
    name="label-balance",
    measure=_measure,
    figures={
        "label_balance": Figure("label balance", "evenness of labels: 1 as in the data, 0 if one is missing", "share"),
    },
    beside_real=_beside_real,
    missing=_missing,
    by_default=lambda traits: not traits.has_modes,
    position=7,
)
