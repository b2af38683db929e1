"""Test C2PA manifests of the SDK and the server, with c2pa's own reader."""

from __future__ import annotations

import concurrent.futures
import io
import json
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any

import c2pa
import pytest
from PIL import Image

from authority import Authority, Pair
from commands import ganserve
from ganserve import Client, InvalidRequest, MissingExtra, PictureSigner
from ganserve._marks.mark import DIGITAL_SOURCE_TYPE
from ganserve._marks.signing import MEDIA_TYPES, C2paSigner, read_manifest
from ganserve.v1 import tensor_pb2
from ganserve_server.errors import StartupError
from ganserve_server.pictures.marks import Marking
from ganserve_server.service import GanService
from ganserve_server.settings import ServerConfig
from ganserve_server.startup import marking_of
from in_core import core
from picture_models import sample

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("pictures", pictures=True)


def active_manifest(file: bytes, form: str) -> dict[str, object]:
    """Return the manifest of a file by c2pa's own reader, after checking that it is valid."""
    with c2pa.Reader(MEDIA_TYPES[form], io.BytesIO(file)) as reader:
        assert reader.get_validation_state() == "Valid"
        described = json.loads(reader.json())
    # The test's authority is on no list of trust; nothing else is wrong.
    assert [each["code"] for each in described["validation_status"]] == ["signingCredential.untrusted"]
    manifest: dict[str, object] = described["manifests"][described["active_manifest"]]
    return manifest


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_server_signs_its_pictures(
    repository: Path, pair: Pair, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair.key.chmod(0o644)
    marking = marking_of(ServerConfig(c2pa_certificate=pair.certificate, c2pa_key=pair.key))
    assert f"--c2pa-key {pair.key}: every user of this machine can read it" in caplog.text
    encoding = tensor_pb2.Encoding.Value(f"ENCODING_{form}")
    with core(repository) as unsigned:
        gan = GanService(unsigned.repository, marking=marking)
        answer = sample(gan, model="tiny-rgb", count=3, encoding=encoding)
        bare = sample(gan, model="tiny-rgb", count=3, encoding=encoding, unmarked=True)
    for file, without in zip(answer.samples.images.files, bare.samples.images.files, strict=True):
        manifest = active_manifest(file, form)
        (actions,) = manifest["assertions"]  # type: ignore[misc]
        (action,) = actions["data"]["actions"]  # type: ignore[index]
        assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", DIGITAL_SOURCE_TYPE)
        assert action["softwareAgent"] == {"name": "ganserve model tiny-rgb", "version": "1"}
        with Image.open(io.BytesIO(file)) as signed, Image.open(io.BytesIO(without)) as image:
            assert signed.tobytes() == image.tobytes()
        assert read_manifest(without, form) is None


def test_the_sdk_signs_and_verify_tells(repository: Path, pair: Pair, tmp_path: Path) -> None:
    signer = PictureSigner(pair.certificate, pair.key)
    with Client.local(repository, model="tiny") as client:
        batch = client.sample(3, seed=1)
        for file in (*(path.read_bytes() for path in batch.save(tmp_path, mark=signer)), batch.grid_png(mark=signer)):
            active_manifest(file, "PNG")
            verdict = client.verify(file)
            assert verdict.likeness == "exact"
            assert verdict.manifest is not None
            assert (verdict.manifest.state, verdict.manifest.problems) == ("Valid", ("signingCredential.untrusted",))
        touched = bytearray(batch.png(0, mark=signer))
        place = touched.index(b'Index="0"') + 7
        touched[place : place + 1] = b"1"
        verdict = client.verify(_with_right_checksums(bytes(touched)))
        assert verdict.manifest is not None
        assert verdict.manifest.state == "Invalid"
        assert "assertion.dataHash.mismatch" in verdict.manifest.problems


def test_threads_share_a_signer(pair: Pair) -> None:
    signer = C2paSigner(pair.certificate, pair.key)
    file = small_png()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        signed = list(threads.map(lambda _: signer.sign(file, "PNG"), range(40)))
    for each in signed:
        active_manifest(each, "PNG")
        assert len(each) - len(file) <= signer.most_bytes


def small_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    return file.getvalue()


def test_a_signer_follows_its_files(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pairs = [authority.sign(f"signer {number}", pictures=True) for number in range(3)]
    certificate, key = tmp_path / "in-use.pem", tmp_path / "in-use.key"

    def replace(file: Path, by: Path) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_bytes(by.read_bytes())
        fresh.replace(file)

    def signed_by() -> str:
        described: Any = active_manifest(signer.sign(small_png(), "PNG"), "PNG")
        return str(described["signature_info"]["common_name"])

    replace(certificate, pairs[0].certificate)
    replace(key, pairs[0].key)
    signer = PictureSigner(certificate, key)
    assert signed_by() == "signer 0"
    for number in (1, 2):
        replace(certificate, pairs[number].certificate)
        now += 2
        assert signed_by() == f"signer {number - 1}", "the new certificate does not fit the old key"
        assert "the certificate for C2PA in use stays: " in caplog.text
        replace(key, pairs[number].key)
        now += 2
        assert signed_by() == f"signer {number}"
    certificate.unlink()
    now += 2
    assert signed_by() == "signer 2"


def test_a_certificate_that_has_ended_is_said(authority: Authority) -> None:
    short = authority.sign("short", pictures=True, to_days=2 / 86400)

    def sign_for_a_minute() -> None:
        signer = PictureSigner(short.certificate, short.key)
        for _ in range(600):
            signer.sign(small_png(), "PNG")
            time.sleep(0.1)

    with pytest.raises(InvalidRequest, match=r"^certificate: .*short.pem: cannot sign C2PA manifests"):
        sign_for_a_minute()


def test_wrong_certificates_are_refused(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    old = authority.sign("old", pictures=True, from_days=-3, to_days=-1)
    for_servers, other = authority.sign("server"), authority.sign("other", pictures=True)
    for certificate, key, argument, reason in (
        (tmp_path / "none.pem", pair.key, "certificate", "cannot be read: No such file"),
        (pair.certificate, tmp_path / "none.key", "key", "cannot be read: No such file"),
        (pair.certificate, pair.certificate, "key", "has no private key in PEM form"),
        (pair.key, pair.key, "certificate", "cannot sign C2PA manifests"),
        (old.certificate, old.key, "certificate", "not valid at time of signing"),
        (for_servers.certificate, for_servers.key, "certificate", "cannot sign C2PA manifests"),
        (pair.certificate, other.key, "certificate", "claimSignature.mismatch"),
    ):
        with pytest.raises(InvalidRequest, match=reason) as refused:
            PictureSigner(certificate, key)
        assert refused.value.violations[0].field == argument
        with pytest.raises(StartupError, match=f"--c2pa-{argument} .*{reason}"):
            marking_of(ServerConfig(c2pa_certificate=certificate, c2pa_key=key))
    done = ganserve("sample", "--c2pa-certificate", str(old.certificate), "--c2pa-key", str(old.key), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"ganserve sample: error: --c2pa-certificate {old.certificate}: cannot sign")


def test_settings_of_marks_that_contradict_each_other_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match=r"--c2pa-certificate .*: needs --c2pa-key\. Give both, or neither\."):
        ServerConfig(c2pa_certificate=pair.certificate)
    with pytest.raises(ValueError, match=r"--c2pa-key .*: needs --c2pa-certificate\."):
        ServerConfig(c2pa_key=pair.key)
    with pytest.raises(ValueError, match="signs marks, and --no-mark-pictures switches them off"):
        ServerConfig(c2pa_certificate=pair.certificate, c2pa_key=pair.key, mark_pictures=False)
    assert marking_of(ServerConfig(mark_pictures=False)) == Marking(on=False)


def test_without_the_library(repository: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = _signed_sample(repository, pair)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ganserve\[c2pa\]'"):
        PictureSigner(pair.certificate, pair.key)
    with pytest.raises(StartupError, match=r"--c2pa-certificate .*: C2PA needs the library c2pa-python"):
        marking_of(ServerConfig(c2pa_certificate=pair.certificate, c2pa_key=pair.key))
    with Client.local(repository) as client:
        verdict = client.verify(signed)
    assert (verdict.likeness, verdict.manifest) == ("exact", None)
    assert any("seems to have a C2PA manifest" in note for note in verdict.notes)


def _signed_sample(repository: Path, pair: Pair) -> bytes:
    with Client.local(repository, model="tiny") as client:
        return client.sample(1, seed=1).png(0, mark=PictureSigner(pair.certificate, pair.key))


def _with_right_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums of their contents."""
    parts, at = [png[:8]], 8
    while at < len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        parts += [png[at:end], zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")]
        at = end + 4
    return b"".join(parts)
