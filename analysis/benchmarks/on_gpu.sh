#!/usr/bin/env bash
# What only a GPU can show, in at most 8 minutes: tests marked gpu, then speeds against the textbook on the same GPU.
#
#   analysis/benchmarks/on_gpu.sh [--out FILE.json] [--seconds 470] [--only SECTION …]
#   analysis/benchmarks/on_gpu.sh --dry-run       the same in miniature on the CPU
#
# From a bare checkout: PYTHON names an interpreter that has torch (default: the checkout's .venv, else python3). What else
# is missing is installed into build/gpu, from the folder WHEELS where that is set, and nothing else is touched.
set -euo pipefail
cd "$(dirname "$0")/../.."
ROOT=$PWD
DEFAULT=python3
[ -x .venv/bin/python ] && DEFAULT=.venv/bin/python
PYTHON=${PYTHON:-$DEFAULT}
export PYTHONPATH="$ROOT/platform:$ROOT/analysis/benchmarks:$ROOT/build/gpu"

"$PYTHON" -c 'import torch' || { echo "error: $PYTHON has no torch; set PYTHON to an interpreter that has it" >&2; exit 2; }
MISSING=$("$PYTHON" -m gpu.needed)
if [ -n "$MISSING" ]; then
  echo "installing into build/gpu:" $MISSING
  # Without dependencies, which the list has: else pip would fetch another torch or NumPy beside those that are there.
  FROM=(--retries 1 --timeout 20)
  [ -n "${WHEELS:-}" ] && FROM=(--no-index --find-links "$WHEELS")
  # One by one, so that one that cannot be had leaves the others.
  for NAME in $MISSING; do
    "$PYTHON" -m pip install --quiet --no-deps --target build/gpu "${FROM[@]}" -c constraints.txt "$NAME" ||
      "$PYTHON" -m pip install --quiet --no-deps --target build/gpu "${FROM[@]}" "$NAME" ||
      echo "$NAME cannot be installed"
  done
  MISSING=$("$PYTHON" -m gpu.needed --without-tests)
  if [ -n "$MISSING" ]; then
    VERSION=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: nothing can be measured without:" $MISSING >&2
    echo "Where there is a network: pip download --no-deps --only-binary=:all: --python-version $VERSION -d wheels" $MISSING >&2
    echo "and here: WHEELS=wheels make gpu" >&2
    exit 2
  fi
fi
exec "$PYTHON" -m gpu.on_gpu --gone "$SECONDS" "$@"
