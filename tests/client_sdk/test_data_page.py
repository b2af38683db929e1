"""The example of docs/synthetic-data.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ganserve.testing import RunningServer

pytest_plugins = ["ganserve.testing.fixtures"]

PAGE = (Path(__file__).parents[2] / "docs" / "synthetic-data.md").read_text(encoding="utf-8")


def test_the_example(ganserve_server: RunningServer) -> None:
    ((code, printed),) = re.findall(
        r"^```python\n(.*?)^```\n\nprints\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    code = code.replace("localhost:50051", ganserve_server.target)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed
