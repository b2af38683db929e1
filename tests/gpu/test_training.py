"""Train a preset in bfloat16 on a device, resume, export and serve it there."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from rich.console import Console

from devices import ON_CUDA, distance
from ganserve import Client
from ganserve_export.from_run.export import export_run
from ganserve_training import PRESETS, load_trained, train
from ganserve_training.data import from_network
from server_process import running_server

if TYPE_CHECKING:
    from pathlib import Path

    from devices import Device


# Not on the CPU, where it takes half a minute; tests/e2e does the same there.
@pytest.mark.parametrize("device", [ON_CUDA], indirect=True)
def test_a_preset_is_trained_in_bfloat16_exported_and_served(device: Device, tmp_path: Path) -> None:
    steps = 200
    config = replace(PRESETS["digits"], steps=steps, precision="bfloat16")
    run, console = tmp_path / "run", Console(file=io.StringIO())
    result = train(config, run, device=device.name, console=console)
    assert result.step == steps
    # It resumes from its checkpoint on the same device.
    result = train(replace(config, steps=steps + 2), run, device=device.name, console=console)
    assert (result.resumed_step, result.step) == (steps, steps + 2)

    exported = export_run(run, tmp_path / "models" / "digits")
    assert exported.step == steps + 2
    trained = load_trained(run)
    generator = trained.generator.to(device.name)
    labels = np.arange(40) % 10
    with (
        running_server(tmp_path / "models", "--provider", device.name) as server,
        Client(server.address) as client,
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        assert f"provider {device.provider} " in server.log
        batch = client.sample(40, label=labels.tolist(), seed=3, return_latents=True)
        with torch.inference_mode():
            drawn = generator(torch.from_numpy(batch.latents).to(device.name), torch.from_numpy(labels).to(device.name))
        scores = client.score(batch.images, label=labels.tolist()).scores

    assert distance(batch.images, from_network(drawn, trained.data).cpu().numpy()).largest <= 1.0
    assert np.isfinite(scores).all()
