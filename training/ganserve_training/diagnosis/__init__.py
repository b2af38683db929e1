"""Watch both players while they train, and report problems in plain sentences. See docs/diagnosis.md.

A look gives an `observation`, which `probe` takes. `rules` find problems in a history of observations, `advice` knows
what to try, `findings` reports each once, and `monitor` does all of this for a run in its folder.
"""

from ganserve_training.diagnosis.findings import KINDS, Finding, Kind
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.rules import diagnose

__all__ = ["KINDS", "Finding", "Kind", "Observation", "diagnose"]
