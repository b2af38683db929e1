"""docs/networks.md names flags that exist, forgets none, and its example trains and exports."""

import dataclasses
import re
import sys
import types
from pathlib import Path
from typing import get_args

import pytest
import torch

from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_training.config import ArchitectureName, CodesConfig, NetworksConfig
from ganserve_training.config.networks import CriticConditioning, GeneratorConditioning
from ganserve_training.data import DataInfo
from ganserve_training.networks import build_networks

TEXT = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()


def test_every_flag_is_there_and_every_flag_exists() -> None:
    fields = {item.name for item in dataclasses.fields(NetworksConfig)} - {"codes"}
    codes = {item.name for item in dataclasses.fields(CodesConfig)}
    exist = {f"--networks.{name.replace('_', '-')}" for name in fields} | {f"--networks.codes.{name}" for name in codes}
    assert set(re.findall(r"--networks\.[a-z.-]+[a-z]", TEXT)) == exist
    for name in (*get_args(ArchitectureName), *get_args(GeneratorConditioning), *get_args(CriticConditioning)):
        assert f"`{name}`" in TEXT or name == "none"


@pytest.mark.parametrize(
    "data",
    [
        DataInfo(sample_shape=(8, 8, 1), label_names=("a", "b")),
        DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0)),
    ],
)
def test_the_example_is_a_pair_for_images_and_vectors(data: DataInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    module = types.ModuleType("my_package.models")
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.models", module)
    paths = {f"{player}_class": f"my_package.models:My{player.title()}" for player in ("generator", "critic")}
    assert all(path in TEXT for path in paths.values())
    pair = build_networks(NetworksConfig(architecture="custom", latent_dim=5, **paths), data)
    labels = {"labels": torch.tensor([0, 1])} if data.label_names else {}
    latents = torch.randn(2, 5)
    made = pair.generator(latents, labels.get("labels"))
    assert pair.critic(made, labels.get("labels")).shape == (2,)
    to_onnx(pair.generator.eval(), {"latents": latents, **labels}, ("samples",))
    to_onnx(pair.critic.eval(), {"samples": made.detach(), **labels}, ("scores",))
