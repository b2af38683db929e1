from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf import json_format
from PIL import Image

from commands import ganserve
from ganserve import Client
from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_export import Exported, ExportError, VerificationError, export_run
from ganserve_export.from_run import export as exporter
from ganserve_export.package import publishing as package
from ganserve_export.package.manifest import read_manifest
from ganserve_training import config_to_dict, load_split, load_trained
from heard_steps import HeardSteps
from tiny_packages import build_tiny_package


def test_manifest_describes_the_package(exported: Exported, run: Path) -> None:
    spec, trained = read_manifest(exported.folder), load_trained(run)
    assert (spec.name, spec.version) == ("digits", 1)
    assert list(spec.label_names) == [str(digit) for digit in range(10)]
    assert spec.sample.kind == model_spec_pb2.SAMPLE_KIND_IMAGE
    assert spec.sample.data_type == tensor_pb2.DATA_TYPE_UINT8
    assert list(spec.sample.shape) == [8, 8, 1]
    assert spec.latent.dimension == trained.prior.dim
    assert spec.score.loss == "relativistic-pairing"
    assert len(spec.score.calibration.intercepts) == 10
    assert spec.score.calibration.real_count == 360
    assert spec.provenance.step == 8
    assert spec.provenance.checkpoint_sha256 == trained.checkpoint_sha256
    assert json_format.MessageToDict(spec.provenance.config) == json.loads(json.dumps(config_to_dict(trained.config)))
    assert {file.name for file in spec.files} == {"generator.onnx", "critic.onnx", "typicality.onnx", "preview.png"}
    for file in spec.files:
        content = (exported.folder / file.name).read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.size_bytes == len(content)
    assert (spec.typicality.threshold, spec.typicality.training_count, spec.typicality.real_count) == (0.05, 1437, 360)
    for graph in (spec.generator, spec.critic, spec.typicality.graph):
        assert list(graph.verification.batch_sizes) == [1, 3, 64]
        assert graph.verification.max_abs_difference <= graph.verification.tolerance


def test_graphs_keep_the_contract_and_score_each_sample_alone(exported: Exported, run: Path) -> None:
    for name in ("generator.onnx", "critic.onnx", "typicality.onnx"):
        model = onnx.load(exported.folder / name)
        onnx.checker.check_model(model, full_check=True)
        for tensor in (*model.graph.input, *model.graph.output):
            assert tensor.type.tensor_type.shape.dim[0].dim_param == "batch"
    generator = ort.InferenceSession(exported.folder / "generator.onnx")
    critic = ort.InferenceSession(exported.folder / "critic.onnx")
    assert [i.name for i in generator.get_inputs()] == ["latents", "labels"]
    assert [i.name for i in critic.get_inputs()] == ["samples", "labels"]

    held_out = load_split(load_trained(run).config.data, "held_out")
    scores, probabilities = critic.run(None, {"samples": held_out.pixels, "labels": held_out.labels})
    assert scores.shape == probabilities.shape == (360,)
    assert scores.dtype == probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()
    alone, _ = critic.run(None, {"samples": held_out.pixels[7:8], "labels": held_out.labels[7:8]})
    np.testing.assert_allclose(alone, scores[7:8], rtol=1e-5, atol=1e-5)


def test_float16_networks_are_served_like_float32_ones(exported: Exported, run: Path, tmp_path: Path) -> None:
    steps = HeardSteps()
    half = export_run(run, tmp_path / "half", precision="float16", steps=steps)
    assert steps.words[-4:] == [
        "writing generator.onnx, and comparing it with PyTorch",
        "writing critic.onnx, and comparing it with PyTorch",
        "writing typicality.onnx, and comparing it with numpy",
        "measuring truncation, and drawing the preview",
    ]
    assert len(steps.words) == steps.expected
    spec = read_manifest(half.folder)
    for graph in (spec.generator, spec.critic):
        assert graph.precision == model_spec_pb2.PRECISION_FLOAT16
        assert graph.verification.max_abs_difference <= graph.verification.tolerance
        sizes = [(folder / graph.file).stat().st_size for folder in (half.folder, exported.folder)]
        assert sizes[0] < 0.7 * sizes[1]
    with Client.local(exported.folder.parent.parent) as whole, Client.local(tmp_path) as client:
        assert client.model("half").generator.precision == "float16"
        batch, reference = (each.sample(200, seed=5, return_scores=True) for each in (client, whole))
        alone = client.sample(1, label=str(batch.label_names[7]), seed=5, offset=7)
    assert np.abs(batch.images.astype(int) - reference.images).max() <= 2
    assert np.abs(batch.images[7].astype(int) - alone.images[0]).max() <= 1
    np.testing.assert_allclose(batch.scores, reference.scores, atol=2e-3 * max(1, np.abs(reference.scores).max()))


def test_preview_has_one_row_per_label(exported: Exported) -> None:
    with Image.open(exported.folder / "preview.png") as picture:
        assert picture.width == picture.height  # ten labels, ten columns


def test_two_exports_at_once_get_two_versions(tmp_path: Path) -> None:
    folders: list[Path] = []
    barrier = threading.Barrier(8)

    def publish() -> None:
        with package.staging_folder(tmp_path / "digits") as staging:
            (staging / "generator.onnx").write_bytes(b"graph")
            barrier.wait()
            folders.append(package.publish(staging, tmp_path / "digits", model_spec_pb2.ModelSpec(name="digits")))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 9))
    for folder in folders:
        assert read_manifest(folder).version == int(folder.name)


def test_what_killed_exports_left_is_removed(tmp_path: Path) -> None:
    killed, starting = (tmp_path / "digits" / f".export-{name}" for name in ("killed", "starting"))
    for folder in (killed, starting):
        folder.mkdir(parents=True)
        (folder / "generator.onnx").touch()
    with package.staging_folder(tmp_path / "digits") as running:
        for folder in (killed, running):
            os.utime(folder, (1, 1))
        with package.staging_folder(tmp_path / "digits"):
            assert running.exists(), "its export holds the lock"
            assert starting.exists(), "it is young"
            assert not killed.exists()


def test_a_version_is_not_published_among_models(run: Path, tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models", "tiny")
    (tmp_path / "models" / "tiny" / "1" / "..data").mkdir()
    (tmp_path / "models" / "tiny" / "1" / "..data" / "manifest.json").touch()
    with pytest.raises(ExportError, match=r"--out .*models: holds models \(tiny\).* --out .*models/tiny$"):
        export_run(run, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]
    assert package.check_name(tmp_path / "models" / "tiny") == "tiny"


def test_the_largest_version_has_no_successor(tmp_path: Path) -> None:
    (tmp_path / "digits" / str(2**32 - 1)).mkdir(parents=True)
    with (
        pytest.raises(ExportError, match=r"has the version 4294967295, the largest there is"),
        package.staging_folder(tmp_path / "digits") as staging,
    ):
        package.publish(staging, tmp_path / "digits", model_spec_pb2.ModelSpec(name="digits"))


def test_nothing_is_published_when_verification_fails(run: Path, tmp_path: Path, monkeypatch) -> None:
    wrong = load_trained(run)
    for weight in wrong.generator.parameters():
        weight.data.mul_(1.5)
    monkeypatch.setattr(exporter, "fold", lambda network: wrong.generator)
    with pytest.raises(VerificationError, match="Not published"):
        export_run(run, tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="ganserve train"):
        export_run(tmp_path / "nothing", tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize("name", ["Digits", "my digits", "-digits", "ü"])
def test_a_name_that_cannot_be_a_models_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="cannot be a model's name"):
        export_run(run, tmp_path / name)


def test_the_command_publishes_the_next_version_and_cleans_up(exported: Exported, run: Path, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "digits" / "1")
    done = ganserve("export-onnx", run, "--out", tmp_path / "digits", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["folder"] == str(tmp_path / "digits" / "2")
    assert result["version"] == 2
    assert result["generator"]["batch_sizes"] == [1, 3, 64]
    # The same checkpoint gives the same probabilities.
    assert result["calibration"] == json.loads(json.dumps(asdict(exported.calibration)))
    assert {path.name for path in (tmp_path / "digits").iterdir()} == {"1", "2"}


def test_the_command_reports_an_error_in_one_line(tmp_path: Path) -> None:
    refused = ganserve("export-onnx", tmp_path / "nothing", "--out", tmp_path / "digits")
    assert refused.returncode == 2
    assert refused.stderr.startswith("ganserve export-onnx: error: ")
    assert len(refused.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExportError, match="can't be written"):
        export_run(run, tmp_path / "file" / "digits")
