"""Test that runs of an earlier version load and continue bit for bit, and that presets have not changed.

tests/fixtures/golden/NAME is a run of six steps; expected.json has its command and the digest of its weights after
twelve. Floating-point sums depend on the processor's maker and instructions, so digests are compared only on the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ganserve_training.commands import train
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.presets import PRESETS

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
EARLIER = json.loads((GOLDEN / "presets.json").read_text(encoding="utf-8"))
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED["runs"])
def test_an_earlier_run_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    shutil.copytree(GOLDEN / name, run)
    arguments = [*EXPECTED["runs"][name]["arguments"], "--steps", "12", "--out", str(run)]
    assert train.main(arguments) == 0
    state = torch.load(run / "checkpoints" / "step-00000012.pt", weights_only=True)
    assert state["step"] == 12
    if (here := processor()) != EXPECTED["processor"]:
        pytest.skip(f"the digests are of {EXPECTED['processor']}, and this is {here}")
    assert weights_sha256(state) == EXPECTED["runs"][name]["weights_sha256"]


@pytest.mark.parametrize("name", EARLIER)
def test_the_configuration_of_an_earlier_run_of_a_preset_is_the_preset(name: str) -> None:
    config = config_from_dict(EARLIER[name])  # Its looks were 200 or 300 steps apart.
    assert config == replace(PRESETS[name], on_trouble="continue", diagnosis=config.diagnosis)


def processor() -> str:
    """Return maker and instructions: torch's libraries round differently on processors of different makers."""
    about = Path("/proc/cpuinfo")  # of Linux
    found = re.search(r"^vendor_id\s*: (\S+)", about.read_text() if about.exists() else "", re.MULTILINE)
    return f"{found[1] if found else 'unknown'} {torch.backends.cpu.get_cpu_capability()}"


def weights_sha256(state: dict[str, Any]) -> str:
    """Return the digest of all weights of both networks and of the average, in a fixed order."""
    digest = hashlib.sha256()
    for part in ("generator", "critic", "ema"):
        for key in sorted(state[part]):
            value = state[part][key]
            if isinstance(value, torch.Tensor):
                digest.update(f"{part}.{key}".encode())
                digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
