#!/usr/bin/env bash
# Runs the GPU's tests and the benchmark's sections, and writes their results into FOLDER.
#
#   benchmarks/gpu/run_all.sh FOLDER               on a machine with an NVIDIA GPU: at most eight minutes
#   DEVICE=cpu benchmarks/gpu/run_all.sh FOLDER    a dry run on the CPU: its figures mean nothing
#
# MINUTES=8 limits the whole; STAGES="tests generators server processes training" selects stages; PYTHON=python3 is the interpreter.
# A stage that has succeeded leaves FOLDER/STAGE.done and is skipped the next time, so that an interrupted run can be resumed.
# Each stage is a process of its own: one that breaks the GPU's context does not affect the others.
set -euo pipefail
out=$(mkdir -p "${1:?a folder for the results}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
device=${DEVICE:-cuda} python=${PYTHON:-python3} limit_s=$((${MINUTES:-8} * 60)) wheels=${WHEELS:-.gpu-wheels}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$PWD/client_sdk:$PWD/server:$PWD/training:$PWD/export"

if [ -d "$wheels" ]; then # made by pack_wheels.sh
  site=$PWD/$wheels/site
  if [ ! -e "$site/.ready" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$site" "$wheels"/*.whl
    # onnxruntime looks for CUDA's libraries beside itself; PyTorch's wheels install them beside PyTorch.
    ln -sfn "$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])')" "$site/nvidia"
    touch "$site/.ready"
  fi
  PYTHONPATH="$PYTHONPATH:$site"
fi
if [ "$device" = cuda ]; then
  nvidia-smi >"$out/nvidia-smi.txt"
  "$python" -c "
import sys
from ganserve_server.engine.providers import cuda_obstacle
obstacle = cuda_obstacle()
sys.exit(obstacle and f'onnxruntime cannot use CUDA: {obstacle}')
"
fi

stages=()
for stage in ${STAGES:-tests generators server processes training}; do
  if [ -e "$out/$stage.done" ]; then echo "$stage: done already"; else stages+=("$stage"); fi
done
failed=0 waiting=${#stages[@]}
for stage in ${stages[@]+"${stages[@]}"}; do
  # The generators get two shares of the remaining time. Starting and stopping take 15 s.
  share=1 shares=$waiting
  if [ "$stage" = generators ]; then share=2 shares=$((waiting + 1)); fi
  seconds=$(((limit_s - SECONDS) * share / shares - 15)) waiting=$((waiting - 1))
  if [ "$seconds" -lt 10 ]; then
    echo "$stage: no time left"
    failed=1
    continue
  fi
  if [ "$stage" = tests ]; then
    command=("$python" -m pytest tests/gpu -k "$device" -v -p no:cacheprovider -n 4 --dist load --durations=10)
  else
    command=("$python" benchmarks/gpu/run.py --device "$device" --sections "$stage" --json "$out/$stage.json"
      --minutes "$("$python" -c "print($seconds / 60)")")
  fi
  if timeout $((seconds + 45)) "${command[@]}" 2>&1 | tee "$out/$stage.txt"; then touch "$out/$stage.done"; else failed=1; fi
  echo "$stage: ended after $SECONDS s"
done
exit $failed
