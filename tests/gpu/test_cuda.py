"""Test on a real GPU that CUDA runs the graphs and draws the CPU's samples to within a level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from devices import ON_CUDA
from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.providers import CPU, CUDA
from random_packages import build_convolutional_package, build_dense_package
from server_process import running_server
from stubs import connected, to_array

if TYPE_CHECKING:
    from pathlib import Path

    from devices import Device


@pytest.mark.parametrize("device", [ON_CUDA], indirect=True)
@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_models_run_on_cuda_and_draw_the_cpus_samples(device: Device, provider: str, tmp_path: Path) -> None:
    build_convolutional_package(tmp_path, "convolutional")
    build_dense_package(tmp_path, "dense")
    with running_server(tmp_path, "--provider", provider) as server, connected(server.address) as gpu:
        assert f"provider {CUDA} " in server.log
        engines = gpu.gan.GetModel(gan_service_pb2.GetModelRequest(model="convolutional")).engines
        assert engines[0].providers[0] == CUDA
        assert engines[0].nodes_by_provider[CUDA] > engines[0].nodes_by_provider.get(CPU, 0)
        with running_server(tmp_path, "--provider", "cpu") as other, connected(other.address) as cpu:
            for model, tolerance in [("convolutional", 1), ("dense", 1e-2)]:
                fields = {"model": model, "count": 200, "seed": 5}
                drawn = [to_array(stubs.sample(**fields).samples.tensor) for stubs in (gpu, cpu)]
                difference = np.abs(drawn[0].astype(np.float64) - drawn[1])
                assert difference.max() <= tolerance
                assert gpu.sample(**fields).label_names == cpu.sample(**fields).label_names
