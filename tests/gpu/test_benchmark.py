"""Run the GPU benchmark on the CPU at its smallest size; its figures are not tested."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime
import pytest
import torch

from devices import obstacle
from ganserve_training.data import DataInfo, load_split
from ganserve_training.networks import build_networks
from ganserve_training.run.compatibility import check_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    """Import the benchmark, and remove its helper modules afterwards: other benchmarks use the same names."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in ("run", "common", "packages", "bare"):  # modules of other benchmarks
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module("run")
        for name in set(sys.modules) - before:
            if str(FOLDER.parent) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def measured(run: ModuleType, section: str, tmp_path: Path) -> tuple[dict[str, Any], str]:
    """Return what a section writes, as figures and as a table."""
    out = tmp_path / "figures.json"
    flags = ["--device", "cpu", "--sections", section, "--networks", "dcgan-8", "--minutes", "5", "--json", str(out)]
    assert run.main(flags) == 0, out.with_suffix(".md").read_text()
    report = json.loads(out.read_text())
    assert report["environment"]["onnxruntime"]
    return report["sections"][section], out.with_suffix(".md").read_text()


@pytest.mark.slow
def test_generators_are_measured_in_each_way(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generators = importlib.import_module("generators")
    ways = (generators.HALF, generators.TorchWay(torch.bfloat16), generators.COMPILED)
    assert set(ways) <= {way for way, _ in generators.STEPS}
    monkeypatch.setattr(generators, "STEPS", tuple((way, (64, 1)) for way in ways))
    record, table = measured(run, "generators", tmp_path)
    assert (record["failed"], record["left_out"]) == ([], [])
    assert {cell["way"] for cell in record["cells"]} == {str(way) for way in ways}
    assert min(cell["samples_per_s"] for cell in record["cells"]) > 0
    assert all(f"| dcgan-8 | {way} |" in table for way in ways)
    assert "goal" not in table, "a dry run has no goals"
    names = [text for text, *_ in generators.goals(record)]
    assert any("CUDA graphs" in name for name in names)
    assert any("torch.compile" in name for name in names)


@pytest.mark.slow
def test_the_whole_server_is_measured_by_its_stages(run: ModuleType, tmp_path: Path) -> None:
    record, table = measured(run, "server", tmp_path)
    whole_server = importlib.import_module("whole_server")
    (one,) = record["networks"]["dcgan-8"]["rounds"]
    assert one["bare"]["copies"]["samples_per_s"] > 0
    assert list(one["loads"]) == [str(load) for load in whole_server.SMALL_LOADS]
    for name, done in one["loads"].items():
        assert done["samples_per_s"] > 0
        assert min(stage["felt_ms"] for stage in done["stages"].values()) > 0, (name, done["stages"])
        assert sum(whole_server.shares(done).values()) == pytest.approx(1.0)
        assert f"| dcgan-8 | {name} |" in table
    assert one["loads"]["a stream of 200"]["clients"][0]["complete"]


@pytest.mark.slow
def test_training_is_compared_with_the_bare_loop(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = importlib.import_module("trainings")
    monkeypatch.setattr(trainings, "PRECISIONS", ("bfloat16",))
    monkeypatch.setitem(trainings.CONFIGS, "cpu", {"r3gan-16": trainings.CONFIGS["cpu"]["r3gan-16"]})
    record, table = measured(run, "training", tmp_path)
    assert record["failed"] == []
    ways = {trainings.STEPS, trainings.TRAIN, trainings.BARE, trainings.COMPILED}
    (row,) = record["rows"]
    assert row["samples_per_s"].keys() == ways
    assert "\n| r3gan-16 | bfloat16 | 4 |" in table


def test_without_a_gpu_cuda_is_refused_with_a_message(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if obstacle() is None:
        pytest.skip("CUDA is available here")
    with pytest.raises(SystemExit):
        run.main(["--device", "cuda"])
    assert f"--device cuda: onnxruntime cannot use CUDA: {obstacle()}" in capsys.readouterr().err


def test_the_networks_of_the_gpu_fit_together(run: ModuleType) -> None:
    subjects = importlib.import_module("subjects").SUBJECTS["cuda"]
    assert [one.size for one in subjects] == [32, 64, 256]
    with torch.device("meta"):
        for one in subjects:
            data = DataInfo(sample_shape=one.sample_shape, label_names=("a", "b"))
            images = build_networks(one.networks, data).generator.eval()(
                torch.empty(2, one.networks.latent_dim), torch.zeros(2, dtype=torch.int64)
            )
            assert images.shape == (2, 3, one.size, one.size)
        for config in importlib.import_module("trainings").CONFIGS["cuda"].values():
            check_pair(config, build_networks(config.networks, load_split(config.data, "train").info), 1)


@pytest.mark.parametrize(("channels", "left"), [(4, 4), (5, 2), (8, 2), (1000, 1)])
@pytest.mark.usefixtures("run")  # its modules can be imported
def test_merged_groups_give_the_same_samples(channels: int, left: int) -> None:
    (subject,) = (one for one in importlib.import_module("subjects").SUBJECTS["cpu"] if one.grouped)
    content = subject.onnx(half=False)
    merged = importlib.import_module("grouped_convolutions").merge_groups(content, channels)
    assert max(groups(content)) == 4
    assert max(groups(merged)) == left
    feed = {name: value.numpy() for name, value in subject.inputs(8).items()}
    before, after = (onnxruntime.InferenceSession(one).run(None, feed)[0].astype(int) for one in (content, merged))
    assert before.std() > 1
    assert abs(before - after).max() <= 1


def groups(content: bytes) -> list[int]:
    nodes = [node for node in onnx.load_from_string(content).graph.node if node.op_type == "Conv"]
    return [attribute.i for node in nodes for attribute in node.attribute if attribute.name == "group"]


@pytest.mark.usefixtures("run")
def test_only_networks_with_groups_are_measured_with_merged_ones() -> None:
    generators = importlib.import_module("generators")
    assert set(generators.MERGED) <= {way for way, _ in generators.STEPS}
    assert [one.name for one in importlib.import_module("subjects").SUBJECTS["cuda"] if one.grouped] == ["r3gan-256"]
    providers = generators.TENSORRT.providers("cuda")
    assert [name for name, _ in providers] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert providers[0][1]["trt_fp16_enable"] == "1"


@pytest.mark.slow
def test_servers_of_several_processes_are_compared(run: ModuleType, tmp_path: Path) -> None:
    record, table = measured(run, "processes", tmp_path)
    several = importlib.import_module("several_processes")
    (load,) = several.SMALL_LOADS
    assert [row["processes"] for row in record["rows"]] == list(several.SMALL_PROCESSES)
    assert min(row["samples_per_s"] for row in record["rows"]) > 0
    assert f"| dcgan-8 | {load} | 2 |" in table
    ((text, measured_ratio, least),) = several.goals(record)
    assert "compared with one" in text
    assert (measured_ratio, least) == (None, 3.0), "a dry run has other loads"
