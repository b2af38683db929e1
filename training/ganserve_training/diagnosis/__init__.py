"""Watches both players while they train and says, in plain sentences, what is going on. See docs/diagnosis.md.

`observation` is what one look sees, `probe` takes it, `rules` read a history of them, `advice` knows what to
try, `debounce` says everything once, and `monitor` does all of it for a run in its folder.
"""

from __future__ import annotations

from ganserve_training.diagnosis.findings import KINDS, Finding, Kind
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.rules import diagnose

__all__ = ["KINDS", "Finding", "Kind", "Observation", "diagnose"]
