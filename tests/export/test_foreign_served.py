"""Package a model made elsewhere, serve it with the real server, and use it through the SDK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from commands import ganserve
from foreign_graphs import FLOAT, INT64, OneHot, Z, export, node, save
from ganserve import Client
from server_process import running_server


def test_package_serve_and_sample(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = OneHot(3).eval()
    export(network, tmp_path / "g.onnx", torch.randn(2, Z), torch.eye(3)[:2])
    nodes = [
        node("ReduceMean", "img", "mean", axes=[1, 2, 3], keepdims=0), node("Gather", "bias y", "b", axis=0),
        node("Add", "mean b", "sum"), node("Sigmoid", "sum", "p"),
    ]  # fmt: skip
    inputs = {"img": (FLOAT, ["n", 1, 8, 8]), "y": (INT64, ["n"])}
    bias = {"bias": np.float32([0, 1, 2])}
    save(tmp_path / "d.onnx", nodes, inputs, {"p": (FLOAT, ["n"])}, bias)
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    command = ("package", "g.onnx", "d.onnx", "--labels", "labels.txt", "--range", "-1..1", "--out", "models/pets")
    done = ganserve(*command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pets version 1, from g.onnx and d.onnx, made elsewhere")

    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        info = client.model("pets")
        assert (info.label_names, info.latent_dim, info.critic_takes_labels) == (("cat", "dog", "bird"), Z, True)
        assert set(info.provenance.config["made_elsewhere"]) == {"generator", "critic", "options"}
        batch = client.sample(70, "bird", seed=3, return_latents=True, return_scores=True)
        with torch.no_grad():
            values = network(torch.from_numpy(batch.latents), torch.eye(3)[[2] * 70]).numpy()
        expected = np.rint(np.clip((values + 1) * 127.5, 0, 255)).transpose(0, 2, 3, 1)
        assert np.abs(batch.images.astype(int) - expected).max() <= 1
        assert np.ptp(batch.images) > 100
        means = (batch.images / 127.5 - 1).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(batch.scores, means + 2, rtol=1e-4, atol=1e-4)
        scored = client.score(batch.images, "dog")
        np.testing.assert_allclose(scored.scores, means + 1, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scored.probabilities, 1 / (1 + np.exp(-means - 1)), atol=1e-4)
    with Image.open(tmp_path / "models" / "pets" / "1" / "preview.png") as preview:
        assert preview.width > preview.height  # three labels, ten columns
