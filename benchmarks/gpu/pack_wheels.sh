#!/usr/bin/env bash
# Downloads the wheels that run_all.sh needs, for a GPU machine without network that has PyTorch.
#
#   benchmarks/gpu/pack_wheels.sh [FOLDER] [PYTHON]      defaults: .gpu-wheels 3.12
#
# The versions are those of constraints.txt. Add names that your machine lacks to the list; remove those it has.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-.gpu-wheels} python=${2:-3.12}
pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check)
names=(cyclopts docstring_parser googleapis-common-protos grpcio grpcio-health-checking grpcio-reflection grpcio-status
  onnxruntime-gpu protobuf python-rapidjson tritonclient uvloop)
platforms=(--platform manylinux2014_x86_64)
for glibc in 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
rm -rf "$folder" && mkdir -p "$folder"
"${pip[@]}" download --no-deps --only-binary=:all: --python-version "$python" --implementation cp "${platforms[@]}" \
  --constraint constraints.txt --dest "$folder" "${names[@]}"
# This package's own wheel gives its metadata; the code that runs is the working tree's.
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$folder" .
du -h "$folder"
