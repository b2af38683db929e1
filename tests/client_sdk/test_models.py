"""Test the descriptions of models."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ganserve import (
    Calibration,
    EngineInfo,
    GraphInfo,
    LatentControl,
    ModelState,
    PackageFile,
    Provenance,
    SampleShape,
    Verification,
    VersionSummary,
)
from ganserve._commands.models import _notes
from server_process import running_server
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api


def test_models_lists_every_version(api: Api) -> None:
    models = {model.name: model for model in api.models()}
    assert list(models) == sorted(models)
    tiny = models["tiny"]
    assert [version.version for version in tiny.versions] == [1, 2]
    assert tiny.latest == 2
    version = tiny.versions[1]
    assert type(version) is VersionSummary
    assert version.state is ModelState.READY
    assert version.reason == ""
    assert version.sample == SampleShape(kind="image", dtype="uint8", shape=(8, 8, 1))
    assert str(version.sample) == "image uint8 [8, 8, 1]"
    assert version.label_names == ("zero", "one", "two")
    assert version.providers
    assert models["tiny-vector"].versions[0].sample == SampleShape(kind="vector", dtype="float32", shape=(2,))
    assert models["tiny-unconditional"].versions[0].label_names == ()
    assert (version.has_critic, version.controls) == (True, ())
    assert not models["tiny-uncritical"].versions[0].has_critic
    assert list(map(str, models["tiny-codes"].versions[0].controls)) == ["c0 (-1 to 1)"]


def test_model_describes_one_version(api: Api, repository: Path) -> None:
    info = api.model("tiny", 1)
    assert (info.name, info.version, info.conditional) == ("tiny", 1, True)
    assert info.sample.shape == (8, 8, 1)
    assert (info.latent_dim, info.latent_distribution) == (4, "normal")
    assert info.label_names == ("zero", "one", "two")
    compared = Verification(batch_sizes=(1, 3, 64), max_abs_difference=0.0, tolerance=1.0)
    assert info.generator == GraphInfo(file="generator.onnx", opset=20, precision="float32", verification=compared)
    assert info.critic is not None
    assert info.critic.file == "critic.onnx"
    assert info.critic_loss == "none"
    assert info.calibration == Calibration(
        slope=0.5, intercepts=(0.0,) * 3, real_count=1000, generated_count=1000, log_loss=0.5
    )
    files = {file.name: file for file in info.files}
    for name, file in files.items():
        content = (repository / "tiny" / "1" / name).read_bytes()
        assert file == PackageFile(name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    assert type(info.provenance) is Provenance
    assert info.provenance.created == datetime(2026, 1, 1, tzinfo=UTC)
    assert info.provenance.ganserve_version == "0.1.0"
    assert "onnx" in info.provenance.libraries
    assert {type(engine) for engine in info.engines} == {EngineInfo}
    assert [engine.file for engine in info.engines] == ["generator.onnx", "critic.onnx"]
    assert all(engine.max_batch_size > 0 for engine in info.engines)
    assert sum(info.engines[0].nodes_by_provider.values()) > 0
    assert info.providers == ("CPUExecutionProvider",) or info.providers[0] == "CUDAExecutionProvider"


def test_other_kinds_of_models(api: Api) -> None:
    vector = api.model("tiny-vector")
    assert (vector.conditional, vector.latent_distribution, vector.sample.kind) == (False, "uniform", "vector")
    uncritical = api.model("tiny-uncritical")
    assert (uncritical.critic, uncritical.critic_loss, uncritical.calibration) == (None, None, None)
    assert uncritical.critic_absence == "it judges 2 samples together"
    tiny = api.model("tiny")
    assert (tiny.version, tiny.critic_takes_labels, tiny.critic_absence, tiny.controls) == (2, True, "", ())
    codes = api.model("tiny-codes")
    assert (codes.conditional, codes.critic_takes_labels) == (True, False)
    assert repr(tiny).startswith(
        "ModelInfo('tiny', version=2, image uint8 [8, 8, 1], latent_dim=4, 3 labels, critic of "
    )
    assert repr(uncritical).startswith("ModelInfo('tiny-uncritical', version=1, image uint8 [8, 8, 1], latent_dim=4")
    assert ", no critic, " in repr(uncritical)
    assert ", control c0 (-1 to 1), " in repr(codes)
    assert codes.controls == (LatentControl(name="c0", index=2, low=-1.0, high=1.0, description="the code c0"),)


def test_the_only_model_needs_no_name_and_gives_its_reason_if_broken(
    connect: Callable[..., Api], tmp_path: Path
) -> None:
    build_tiny_package(tmp_path, "good", 7)
    build_tiny_package(tmp_path, "good", 8).joinpath("generator.onnx").write_bytes(b"broken")
    with running_server(tmp_path) as server:
        api = connect(server.address)
        assert api.model().name == "good"
        assert api.sample(1, "one").version == 7
        (model,) = api.models()
        assert model.latest == 7
        assert [version.state for version in model.versions] == [ModelState.READY, ModelState.FAILED]
        assert "generator.onnx" in model.versions[1].reason
        assert model.versions[1].sample is None


def test_the_list_tells_how_a_model_is_computed() -> None:
    plain = VersionSummary(
        version=1,
        state=ModelState.READY,
        reason="",
        sample=SampleShape(kind="image", dtype="uint8", shape=(8, 8, 1)),
        label_names=(),
        providers=("OpenVINO",),
        has_critic=True,
        controls=(),
    )
    assert _notes(plain) == ""
    assert _notes(replace(plain, bfloat16=True)) == "bfloat16"
    assert _notes(replace(plain, lone_threads=4, lone_samples=1)) == "one sample alone on 4 threads"
    assert _notes(replace(plain, lone_threads=4, lone_samples=8)) == "up to 8 samples alone on 4 threads"
