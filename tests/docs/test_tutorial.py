"""docs/tutorial.md, executed from top to bottom in an empty folder, as a reader would.

What is changed: fewer pieces and steps, which take hours; a free port; and the server runs beside the blocks after it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ganserve import Client

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)(?: [\w.]+)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALLER = {"PIECES, SIDE_PX = 600": "PIECES, SIDE_PX = 60", "20000": "20", "18000": "18", "--steps 60": "--steps 10"}
INSTALLING = ("pip install",)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial(tmp_path: Path) -> None:
    page_blocks = [text for _, text in BLOCKS]
    for large in SMALLER:
        assert sum(large in text for text in page_blocks) == 1, large
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    server: subprocess.Popen[str] | None = None
    address, printed = "", ""
    try:
        for language, text in BLOCKS:
            code = text
            for large, small in SMALLER.items():
                code = code.replace(large, small)
            if code.startswith("ganserve serve"):
                # exec: the signal at the end must reach the server, not its shell.
                call = ["bash", "-c", f"exec {code.replace('50051', '0')}"]
                server = subprocess.Popen(
                    call, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
                assert server.stdout is not None
                lines = []
                while not (match := re.fullmatch(r"serving on (\S+)\n", line := server.stdout.readline())):
                    assert line, f"the server ended:\n{''.join(lines)}"
                    lines.append(line)
                address = match[1]
                environment["GANSERVE_TARGET"] = address
                continue
            code = code.replace("localhost:50051", address)
            call = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
            done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout
        assert printed == re.findall(r"^prints\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
        with Client(address) as client:
            assert client.model("pictures").label_names == ("china", "flower")
        assert (tmp_path / "runs/pictures/report.html").stat().st_size > 100_000
        assert len(list((tmp_path / "runs/trial/samples").iterdir())) >= 1
        assert Image.open(tmp_path / "flowers.png").width > 16
        assert len(list((tmp_path / "flowers").glob("*.png"))) == 8
    finally:
        if server is not None:
            server.terminate()
            server.communicate(timeout=60)
    assert server is not None
    assert server.returncode == 0


def test_every_block_is_executed_but_installing() -> None:
    others = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [text.startswith(INSTALLING) for text in others] == [True, False]
    assert len(BLOCKS) >= 7
