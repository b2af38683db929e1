"""Test that broken packages are refused with the reason."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from typing import TYPE_CHECKING

import pytest

from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2
from ganserve_server.errors import PackageError
from ganserve_server.models.package_files import is_plain_file_name
from ganserve_server.models.repository import Repository
from package_loading import BATCH, ENGINE, edited, load
from server_process import running_server
from stubs import connected
from tiny_packages import (
    build_tiny_package,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def setting(path: str, value: object) -> Callable[[Path], None]:
    def change(spec: model_spec_pb2.ModelSpec) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            spec = getattr(spec, parent)
        setattr(spec, name, value)

    return edited(change)


def one_intercept(spec: model_spec_pb2.ModelSpec) -> None:
    del spec.score.calibration.intercepts[1:]


def json_edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads(folder.joinpath("manifest.json").read_text())
        change(manifest)
        folder.joinpath("manifest.json").write_text(json.dumps(manifest))

    return edit


def link_outside(folder: Path) -> None:
    outside = folder.parent.parent.parent / "outside.onnx"
    folder.joinpath("generator.onnx").rename(outside)
    folder.joinpath("generator.onnx").symlink_to(outside)


def circular_link(folder: Path) -> None:
    folder.joinpath("critic.onnx").unlink()
    folder.joinpath("critic.onnx").symlink_to("critic.onnx")


def corrupt(folder: Path) -> None:
    content = bytearray(folder.joinpath("generator.onnx").read_bytes())
    content[100] ^= 1
    folder.joinpath("generator.onnx").write_bytes(content)


def sparse(folder: Path) -> None:
    os.truncate(folder / "generator.onnx", 50 * 2**30)


def truncate(folder: Path) -> None:
    content = folder.joinpath("critic.onnx").read_bytes()
    folder.joinpath("critic.onnx").write_bytes(content[:-10])


BROKEN = {
    "no manifest": (lambda folder: folder.joinpath("manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest is a folder": (
        lambda folder: (folder.joinpath("manifest.json").unlink(), folder.joinpath("manifest.json").mkdir()),
        r"manifest\.json cannot be read",
    ),
    "not JSON": (lambda folder: folder.joinpath("manifest.json").write_text("{"), r"is not the JSON of a ganserve"),
    "not UTF-8": (lambda folder: folder.joinpath("manifest.json").write_bytes(b"\xff"), r"cannot be read"),
    "unknown field": (json_edited(lambda manifest: manifest.update(colour=1)), r'no field named "colour"'),
    "other name": (setting("name", "other"), r"names the model 'other', its folder is 'tiny'"),
    "other version": (setting("version", 9), r"says version 9, its folder is '1'"),
    "kind missing": (setting("sample.kind", 0), r"sample\.kind is SAMPLE_KIND_UNSPECIFIED; expected IMAGE or VECTOR"),
    "kind unknown": (json_edited(lambda manifest: manifest["sample"].update(kind=77)), r"sample\.kind is 77"),
    "wrong axes": (edited(lambda spec: spec.sample.shape.pop()), r"sample\.shape is \[8, 8\]; expected \[H, W, C\]"),
    "empty axis": (
        edited(lambda spec: spec.sample.shape.__setitem__(0, 0)),
        r"sample\.shape is \[0, 8, 1\].*at least 1",
    ),
    "wrong type": (setting("sample.data_type", tensor_pb2.DATA_TYPE_FLOAT32), r"expected DATA_TYPE_UINT8"),
    "no latents": (setting("latent.dimension", 0), r"latent\.dimension is 0"),
    "no distribution": (setting("latent.distribution", 0), r"latent\.distribution is LATENT_DISTRIBUTION_UNSPECIFIED"),
    "label twice": (edited(lambda spec: spec.label_names.append("one")), r"label_names must be distinct"),
    "empty label": (edited(lambda spec: spec.label_names.append("")), r"label_names must be distinct and not empty"),
    "control outside the latent": (
        edited(lambda spec: spec.latent.controls.add(name="c0", index=4, low=-1, high=1)),
        r"latent\.controls has 'c0' with index 4; expected 0 to 3",
    ),
    "control twice": (
        edited(lambda spec: [spec.latent.controls.add(name=name, index=1, high=1) for name in ("c0", "c1")]),
        r"latent\.controls has 'c1' with index 1; names and indices must be distinct",
    ),
    "control without a range": (
        edited(lambda spec: spec.latent.controls.add(name="c0", index=1)),
        r"latent\.controls has 'c0' with the range 0 to 0; expected low below high",
    ),
    "control with a default outside its range": (
        edited(lambda spec: spec.latent.controls.add(name="c0", index=1, high=1, default=2)),
        r"latent\.controls has 'c0' with the default 2; expected 0 to 1",
    ),
    "control without a name": (
        edited(lambda spec: spec.latent.controls.add(name="c=0", index=1, high=1)),
        r"latent\.controls has 'c=0'; a control's name is",
    ),
    "critic without the labels that it takes": (
        edited(lambda spec: (setattr(spec.score, "label_free", True), one_intercept(spec))),
        r"critic\.onnx has the inputs \['labels', 'samples'\]; expected samples uint8",
    ),
    "path": (
        edited(lambda spec: setattr(spec.files[0], "name", "../1/critic.onnx")),
        r"files names '\.\./1/critic\.onnx'; .*own folder",
    ),
    "file twice": (edited(lambda spec: spec.files.append(spec.files[0])), r"files names 'critic\.onnx' twice"),
    "digest malformed": (
        edited(lambda spec: setattr(spec.files[0], "sha256", spec.files[0].sha256.upper())),
        r"not 64 lower-case hexadecimal digits",
    ),
    "file missing": (lambda folder: folder.joinpath("critic.onnx").unlink(), r"critic\.onnx is missing"),
    "corrupt": (corrupt, r"generator\.onnx has the SHA-256 [0-9a-f]{64}, the manifest says"),
    "sparse": (sparse, r"generator\.onnx has 53687091200 bytes, the manifest says \d+"),
    "sparse, as the manifest says": (
        edited(lambda spec: setattr(spec.files[1], "size_bytes", 50 * 2**30)),
        r"generator\.onnx has 53687091200 bytes; at most 2147483647 are read",
    ),
    "manifest too large": (
        lambda folder: os.truncate(folder / "manifest.json", 2**40),
        r"manifest\.json has 1099511627776 bytes; at most 4194304 are read",
    ),
    "deep manifest": (
        lambda folder: folder.joinpath("manifest.json").write_text('{"a":' * 100_000),
        r"is not the JSON of a ganserve",
    ),
    "too many files": (
        edited(lambda spec: [spec.files.add(name=str(number)) for number in range(100)]),
        r"files has 10\d entries; at most 64 are read",
    ),
    "large sample": (
        edited(lambda spec: spec.sample.shape.__setitem__(slice(None), [2**32 - 1, 2**32 - 1, 4])),
        r"sample\.shape is .* bytes; expected at most",
    ),
    "60,000 dimensions": (
        edited(lambda spec: spec.sample.shape.extend([2**32 - 1] * 60_000)),
        r"sample\.shape is \[8, 8, 1, .*60003 in all.*; expected \[H, W, C\]",
    ),
    "many latents": (setting("latent.dimension", 2**32 - 1), r"latent\.dimension is 4294967295; expected 1 to 65536"),
    "many labels": (
        edited(lambda spec: spec.label_names.extend(map(str, range(2**17)))),
        r"label_names has 131075 entries; expected at most 131072",
    ),
    "truncated": (truncate, r"critic\.onnx has \d+ bytes, the manifest says \d+"),
    "circular link": (circular_link, r"critic\.onnx cannot be read: Too many levels of symbolic links"),
    "link": (link_outside, r"generator\.onnx is .*outside\.onnx, outside the repository .*: copy the file into it"),
    "graph not listed": (
        setting("generator.file", "absent.onnx"),
        r"generator\.file is 'absent\.onnx', which is not among the manifest's files",
    ),
    "graph outside": (setting("critic.file", "../critic.onnx"), r"critic\.file is '\.\./critic\.onnx'"),
    "labels that the graph has not": (
        edited(lambda spec: (spec.ClearField("label_names"), one_intercept(spec))),
        r"generator\.onnx has the inputs \['labels', 'latents'\]; expected latents float32 \[N, 4\]",
    ),
    "other opset": (setting("generator.opset", 19), r"generator\.opset is 19, and generator\.onnx has opset \d+"),
    "other precision": (
        setting("critic.precision", model_spec_pb2.PRECISION_FLOAT16),
        r"critic\.precision is PRECISION_FLOAT16, and most weights of critic\.onnx are float32",
    ),
    "calibration without intercepts": (
        edited(lambda spec: spec.score.calibration.ClearField("intercepts")),
        r"score\.calibration has 0 intercepts; expected \d: one for each label",
    ),
    "calibration that is not a number": (
        setting("score.calibration.slope", math.nan),
        r"score\.calibration has numbers that are not finite",
    ),
    "calibration of another graph": (
        edited(lambda spec: setattr(spec.score.calibration, "slope", spec.score.calibration.slope + 7)),
        r"score\.calibration gives log-odds that differ by .* of critic\.onnx",
    ),
    "calibration beyond all numbers": (
        setting("score.calibration.slope", 1e308),
        r"score\.calibration gives log-odds that differ by",
    ),
    "manifest outside": (
        lambda folder: (
            folder.joinpath("manifest.json").rename(folder.parents[2] / "outside.json"),
            folder.joinpath("manifest.json").symlink_to(folder.parents[2] / "outside.json"),
        ),
        r"manifest\.json is .*outside\.json, outside the repository",
    ),
    "manifest that is a pipe": (
        lambda folder: (folder.joinpath("manifest.json").unlink(), os.mkfifo(folder / "manifest.json")),
        r"manifest\.json cannot be read: it is not a regular file",
    ),
    "other latents": (
        setting("latent.dimension", 5),
        r"input latents is tensor\(float\) \['N', 4\]; expected latents float32 \[N, 5\]",
    ),
    "other sample": (
        edited(lambda spec: spec.sample.shape.__setitem__(0, 16)),
        r"output samples is .*8, 8, 1\]; expected samples uint8 \[N, 16, 8, 1\]",
    ),
    "swapped graphs": (
        edited(lambda spec: setattr(spec.generator, "file", "critic.onnx")),
        r"critic\.onnx has the inputs \['labels', 'samples'\]",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_package_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    spoil, reason = BROKEN[kind]
    folder = build_tiny_package(tmp_path / "models")
    load(folder)
    spoil(folder)
    with pytest.raises(PackageError, match=reason):
        load(folder)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "/etc/passwd", "c:x", "a\0b"])
def test_file_names_must_not_contain_a_path(name: str) -> None:
    assert not is_plain_file_name(name)
    assert is_plain_file_name("generator.onnx")


def test_the_repository_ignores_other_files_and_folders(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    tmp_path.joinpath(".digits-being-written", "1").mkdir(parents=True)
    tmp_path.joinpath("tiny", ".3.tmp").mkdir()
    tmp_path.joinpath("tiny", "latest").mkdir()
    tmp_path.joinpath("tiny", "007").mkdir()
    tmp_path.joinpath("empty").mkdir()
    tmp_path.joinpath("README.md").write_text("…")
    repository = Repository(tmp_path, ENGINE, BATCH)
    repository.load()
    (summary,) = repository.summaries()
    repository.close()
    assert [version.version for version in summary.versions] == [1]
    assert len(repository.ignored) == 3
    assert "latest: a version's folder is named by a positive integer" in repository.ignored[2]


def test_a_model_with_a_bad_name_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_package(tmp_path, "Tiny Model")
    with pytest.raises(PackageError, match=r"folder is named 'Tiny Model'; a model's name has 1 to 128 characters"):
        load(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_disturb_nobody(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny", 1)
    for name in (b"\xff\xfe", b"a\x1b[31m\nb"):
        build_tiny_package(tmp_path, "odd", 1)
        os.rename(tmp_path / "odd", os.fsencode(tmp_path) + b"/" + name)  # noqa: PTH104 - a path of bytes
    folder = build_tiny_package(tmp_path, "linked", 1)
    target = os.fsencode(tmp_path.parent) + b"/\xff.onnx"
    os.rename(folder / "generator.onnx", target)  # noqa: PTH104
    (folder / "generator.onnx").symlink_to(os.fsdecode(target))
    with running_server(tmp_path) as server, connected(server.address) as stubs:
        models = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest()).models
        assert [model.name for model in models] == ["linked", "tiny"]
        assert "\\udcff.onnx, outside the repository" in models[0].versions[0].reason
        assert "\\udcff\\udcfe: its name has characters that cannot be printed" in server.log
        assert "a\\x1b[31m\\nb: its name has characters" in server.log


def test_broken_versions_are_listed_as_failed_while_the_others_serve(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny", 1)
    corrupt(build_tiny_package(tmp_path, "tiny", 2))
    corrupt(build_tiny_package(tmp_path, "wholly-broken", 1))
    with running_server(tmp_path) as server, connected(server.address) as stubs:
        tiny, broken = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest()).models
        assert [version.state for version in tiny.versions] == [
            gan_service_pb2.MODEL_STATE_READY,
            gan_service_pb2.MODEL_STATE_FAILED,
        ]
        assert "SHA-256" in tiny.versions[1].reason
        assert not tiny.versions[1].HasField("sample")
        assert (tiny.latest, broken.latest) == (1, 0)
        assert stubs.sample(model="tiny", count=1).version == 1
        assert stubs.sample(count=1).model == "tiny", "the only model that is served"
        assert "FAILED   tiny version 2: generator.onnx has the SHA-256" in server.log


def test_links_inside_the_repository_load_as_kubernetes_and_hubs_make_them(tmp_path: Path) -> None:
    models = tmp_path / "models"
    kubernetes = build_tiny_package(models, "mounted")
    data = kubernetes / "..2026_11_29"
    data.mkdir()
    for file in [path for path in kubernetes.iterdir() if path.is_file()]:
        file.rename(data / file.name)
        file.symlink_to(f"..data/{file.name}")
    (kubernetes / "..data").symlink_to(data.name)
    hub = build_tiny_package(models, "downloaded")
    (hub.parent / "blobs").mkdir()
    for file in list(hub.iterdir()):
        blob = hub.parent / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        file.symlink_to(f"../blobs/{blob.name}")
    projected = build_tiny_package(models / "..2026", "projected").parent
    (models / "..data").symlink_to("..2026")
    (models / "projected").symlink_to("..data/projected")
    assert projected.is_dir()
    for folder in (kubernetes, hub, models / "projected" / "1"):
        load(folder)
    repository = Repository(models, ENGINE, BATCH)
    repository.load()
    assert sorted(model.info.name for model in repository.models()) == ["downloaded", "mounted", "projected"]
    repository.close()


def test_a_linked_folder_outside_the_repository_is_refused(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "elsewhere")
    models = tmp_path / "models"
    models.mkdir()
    (models / "tiny").symlink_to(tmp_path / "elsewhere" / "tiny")
    with pytest.raises(PackageError, match=r"manifest\.json is .*elsewhere/tiny/1/manifest\.json, outside the repos"):
        load(models / "tiny" / "1")


def test_every_uint32_is_a_version(tmp_path: Path) -> None:
    for version in (1_764_460_800, 2**32 - 1):
        build_tiny_package(tmp_path, "tiny", version)
    (tmp_path / "tiny" / str(2**32)).mkdir()
    repository = Repository(tmp_path, ENGINE, BATCH)
    repository.load()
    assert [model.info.version for model in repository.models()] == [1_764_460_800, 2**32 - 1]
    assert repository.ignored == [f"{tmp_path}/tiny/{2**32}: a version is at most {2**32 - 1}"]
    repository.close()
