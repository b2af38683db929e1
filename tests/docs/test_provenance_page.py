"""Test docs/provenance.md: its commands and programs, one after the other, beside a server that signs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from authority import Authority
from documents import DOCS, TARGET, blocks
from server_process import ServerProcess

PAGE = DOCS / "provenance.md"


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Authority(tmp_path).sign("certificate", pictures=True)
    pair.key.rename(tmp_path / "key.pem")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    sign = ("--c2pa-certificate", "certificate.pem", "--c2pa-key", "key.pem")
    assert f"ganserve serve --models models {' '.join(sign)}" in PAGE.read_text(encoding="utf-8")
    server = ServerProcess(None, "--demo", *sign)
    try:
        server.wait_until_serving()
        port = server.address.rpartition(":")[2]
        monkeypatch.setenv("GANSERVE_TARGET", f"localhost:{port}")
        printed = ""
        for block in blocks(PAGE, "sh", "python"):
            lines = [line for line in block.code.splitlines() if not line.startswith("ganserve serve ")]
            code = "\n".join(lines).replace(TARGET, f"localhost:{port}")
            command = [sys.executable, "-c", code] if block.language == "python" else ["bash", "-euc", code]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
            printed += done.stdout
    finally:
        server.stop()
    (shown,) = (block.code for block in blocks(PAGE, "text"))
    assert shown in printed
    assert "exact bit for bit the 12 samples of mnist version 1" in printed
    assert len(list((tmp_path / "samples").glob("*.png"))) >= 16
