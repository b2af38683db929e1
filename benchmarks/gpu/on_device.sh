#!/usr/bin/env bash
# On the GPU machine: unpacks onnxruntime's CUDA build, runs the GPU's tests and the benchmark, leaves all under $OUT.
#
#   OUT=… [SECONDS_IN_ALL=480] [TESTS=yes] [SECTIONS="generators server training"] bash benchmarks/gpu/on_device.sh
#
# Needs python3 with PyTorch and the CUDA libraries of PyTorch's wheels; reaches no network. README.md says how the parts
# come here. A section is a process of its own: one that breaks the GPU's context takes no other with it.
# DEVICE=cpu PYTHON=.venv/bin/python tries this script out: it unpacks nothing, and measures nothing that means anything.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:?a folder for the results} parts=${PARTS:-$HOME/ort} wheels=${WHEELS:-.gpu-parts/wheels}
site=$HOME/site root=$PWD python=${PYTHON:-python3} device=${DEVICE:-cuda} in_all=${SECONDS_IN_ALL:-480}
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

if [ "$device" = cuda ]; then
  if [ ! -e "$site/.ready" ]; then
    rm -rf "$site" && mkdir -p "$site"
    cat "$parts"/part-* |
      "$python" -c "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall('$site')"
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
    # onnxruntime looks for CUDA's libraries beside itself; PyTorch's wheels have put them beside PyTorch.
    ln -sfn "$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])')" "$site/nvidia"
    touch "$site/.ready"
  fi
  # Our own code is the working tree's.
  export PYTHONPATH="$root/client_sdk:$root/server:$root/training:$root/export:$site"
  echo "unpacked after $SECONDS s"
  nvidia-smi | tee "$out/nvidia-smi.txt"
  "$python" -c "
import sys
import onnxruntime
from ganserve_server.engine.providers import cuda_obstacle
print('onnxruntime', onnxruntime.__version__, 'of', onnxruntime.__file__)
obstacle = cuda_obstacle()
sys.exit(obstacle and f'onnxruntime has no CUDA here: {obstacle}')
"
fi

failed=0
if [ "${TESTS:-yes}" = yes ]; then
  # All that name CUDA: those on the CPU, too, try out their own logic, which they have done before.
  timeout 150 "$python" -m pytest tests/gpu -k "$device" -v -p no:cacheprovider -n 4 --dist load --durations=10 \
    2>&1 | tee "$out/tests.txt" || failed=1
  echo "tests done after $SECONDS s"
fi
sections=${SECTIONS:-generators server training}
waiting=$(wc -w <<<"$sections")
for section in $sections; do
  # Generators have two shares of what is left. Starting and ending take 15 s that no section counts.
  share=1 shares=$waiting
  if [ "$section" = generators ]; then share=2 shares=$((waiting + 1)); fi
  seconds=$(((in_all - SECONDS) * share / shares - 15)) waiting=$((waiting - 1))
  if [ "$seconds" -lt 10 ]; then
    echo "no time is left for $section"
    failed=1
    continue
  fi
  timeout $((seconds + 45)) "$python" benchmarks/gpu/run.py --device "$device" --sections "$section" \
    --minutes "$("$python" -c "print($seconds / 60)")" --json "$out/$section.json" || failed=1
  echo "$section done after $SECONDS s"
done
exit $failed
