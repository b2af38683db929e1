#!/usr/bin/env bash
# Packs what on_device.sh needs into FOLDER, for a GPU machine that reaches no package registry.
#
#   benchmarks/gpu/pack.sh PACK-ONNXRUNTIME-GPU [FOLDER] [VERSION] [PYTHON]      defaults: .gpu-parts 1.31.1 3.12
#
# PACK-ONNXRUNTIME-GPU is the workplace's script that writes FOLDER/part-NN. The wheels beside it are what our packages
# need beyond PyTorch, onnx, onnxscript, scikit-learn and so on, which such a machine has, in the versions of
# constraints.txt; and our own, for its metadata: the code that runs there is the working tree's.
set -euo pipefail
cd "$(dirname "$0")/../.."
pack=${1:?the script that packs onnxruntime-gpu} folder=${2:-.gpu-parts} version=${3:-1.31.1} python=${4:-3.12}
pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check)
names=(docstring_parser googleapis-common-protos grpcio grpcio-health-checking grpcio-reflection grpcio-status
  lightning-fabric protobuf python-rapidjson tritonclient typeguard tyro uvloop)
platforms=()
for glibc in 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
rm -rf "$folder/wheels" && mkdir -p "$folder/wheels"
"${pip[@]}" download --no-deps --only-binary=:all: --python-version "$python" --implementation cp "${platforms[@]}" \
  --platform manylinux2014_x86_64 --constraint constraints.txt -d "$folder/wheels" "${names[@]}"
"${pip[@]}" wheel --no-deps --no-build-isolation -w "$folder/wheels" .
# Larger parts mean fewer journeys; the working tree and one of them must stay below 64 MiB.
[ -e "$folder/part-00" ] || PATH="$PWD/.venv/bin:$PATH" "$pack" "$folder" "$version" "$python" 56
du -h "$folder"/part-* "$folder/wheels"
