"""Make the model that comes with the server: MNIST's digits, small enough to ship.

    python scripts/make_demo_model.py [--run FOLDER]

Trains the preset `mnist`, about four minutes of one core, and exports it to
server/ganserve_server/demo/models/mnist/1. The same machine makes the same weights. The seed is the one of 0 to 4 whose
digits are judged best (benchmarks/presets).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ganserve_export import export_run
from ganserve_server.demo import MODELS
from ganserve_training import PRESETS, train

SEED = 3
MOST_BYTES = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of the training run, which is kept; default: a temporary one")
    arguments = parser.parse_args()
    config = replace(PRESETS["mnist"], seed=SEED)
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or Path(temporary)
        train(config, run, threads=1)
        made = Path(temporary, "models", "mnist")
        export_run(run, made)
        size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"{made}: {size:,} bytes, and at most {MOST_BYTES:,} may be shipped. Narrow its networks.")
        shutil.rmtree(MODELS / "mnist", ignore_errors=True)
        shutil.copytree(made, MODELS / "mnist")
    sys.stdout.write(f"{MODELS / 'mnist'}: {size:,} bytes\n")


if __name__ == "__main__":
    main()
