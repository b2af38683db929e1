"""Render the Kubernetes manifests of deploy/kubernetes from the chart: render_manifests.py [--check].

They are what `helm template ganserve deploy/helm/ganserve --namespace ganserve --values deploy/kubernetes/values.yaml`
prints, by Helm's own engine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml
from helm_python import Chart

ROOT = Path(__file__).resolve().parents[1]
CHART, FOLDER = ROOT / "deploy" / "helm" / "ganserve", ROOT / "deploy" / "kubernetes"
FILE = FOLDER / "ganserve.yaml"
HEADER = "# Made from ../helm/ganserve with values.yaml by scripts/render_manifests.py. Edit a copy for your cluster.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    text = rendered()
    if not parser.parse_args().check:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.stderr.write(f"{FILE} is not current: run {Path(__file__).name}\n")
        return 1
    return 0


def rendered() -> str:
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    with Chart.load(CHART) as chart:
        files = chart.render(values, name="ganserve", namespace="ganserve")
    parts = [text.strip() for name, text in sorted(files.items()) if name.endswith(".yaml") and text.strip()]
    return HEADER + "".join(f"---\n{part.removeprefix('---').strip()}\n" for part in parts)


if __name__ == "__main__":
    sys.exit(main())
