"""Test the model that comes with the server: `ganserve serve --demo` and `Client.local()`."""

from __future__ import annotations

import numpy as np

from commands import ganserve
from ganserve import Client
from ganserve_server.demo import MODELS
from ganserve_server.settings import ServerConfig
from ganserve_training.config import MnistConfig
from ganserve_training.evaluation.evaluate import evaluate_samples
from server_process import running_server


def test_serve_demo_answers_without_any_model_of_ones_own() -> None:
    with running_server(None, "--demo") as process, Client(process.address) as client:
        batch = client.sample(16, label=7, seed=1)
        assert (batch.model, batch.images.shape) == ("mnist", (16, 32, 32, 1))
        scores = client.score(batch.images, label=7)
    assert scores.out_of_distribution is not None


def test_the_demo_model_draws_the_digits_that_it_is_asked_for() -> None:
    config = MnistConfig()
    labels = np.arange(1000) % 10
    with Client.local() as client:
        batch = client.sample(1000, label=labels, seed=0)
    judgement = evaluate_samples(batch.images, labels, config)
    assert judgement.gan_test >= 0.95 * judgement.judge_accuracy
    assert judgement.gan_train >= 0.88 * judgement.judge_accuracy


def test_the_demo_model_is_small() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 1_000_000


def test_demo_beside_a_folder_is_refused() -> None:
    done = ganserve("serve", "--demo", "--models", "others")
    assert done.returncode == 2
    assert "--demo: serves its own model, --models others names others. Leave out either." in done.stderr
    assert ServerConfig(demo=True).folder == MODELS
