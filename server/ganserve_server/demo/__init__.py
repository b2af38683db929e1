"""The model that comes with the server, for `ganserve serve --demo` and `Client.local()`: handwritten digits.

scripts/make_demo_model.py makes it.
"""

from pathlib import Path

MODELS = Path(__file__).parent / "models"
"""Folder of model packages, with one model: mnist."""
