#!/usr/bin/env bash
# tests/gpu/run with tools that only say that they are CUDA's: what it makes of their failures, skipped tests and hangs.
set -euo pipefail
run=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/run
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tools" "$folder/release"
touch "$folder/release/CTestTestfile.cmake"

# tool NAME SCRIPT: in the path, or, where built, in the folder of the build
tool() {
  printf '#!/bin/sh\n%s\n' "$2" > "$folder/tools/$1"
  chmod +x "$folder/tools/$1"
}
tool nvcc 'echo nvcc'
tool cuobjdump 'echo kernels.sm_90.cubin'
tool compute-sanitizer 'case "$*" in *"--report-api-errors no"*) exit 0 ;; esac; echo "Program hit cudaErrorNotReady"; exit 1'

# expect CODE TEXT...: the exit code, and what the table says
expect() {
  local code=0 wanted=$1
  shift
  tool cmake "mkdir -p '$folder/build' && cp '$folder/tools/kernels_on_gpu' '$folder/tools/device_checks' '$folder/build'"
  PATH="$folder/tools:$PATH" MOEWE_GPU_SECONDS=${seconds:-60} "$run" "$folder/build" "$folder/release" "$folder/results" \
    > "$folder/output" 2>&1 || code=$?
  for text in "$@"; do
    grep -q -- "$text" "$folder/output" && continue
    echo "no '$text' in:"
    cat "$folder/output"
    exit 1
  done
  [ $code -eq "$wanted" ] && return
  echo "code $code, not $wanted:"
  cat "$folder/output"
  exit 1
}

passes() {
  tool kernels_on_gpu 'echo rates'
  tool device_checks 'echo checked'
  tool ctest 'echo "100% tests passed"'
}

passes
expect 0 rates checked 'compute-sanitizer memcheck *passed' 'tests labelled gpu *passed'
grep -q rates "$folder"/results/gpu-*.txt

passes
tool ctest 'echo "	  7 - kernels.gpu (Skipped)"'
expect 1 'tests labelled gpu *FAILED with code 0, 1 skipped'

passes
tool device_checks 'echo "flags are not ordered"; exit 1'
expect 1 'device *FAILED with code 1' 'flags are not ordered' 'kernels *passed'

passes
tool kernels_on_gpu 'sleep 60'
seconds=2 expect 1 'kernels *FAILED with code 124'

passes
tool kernels_on_gpu 'echo "[  SKIPPED ] all: CUDA sees no GPU"; exit 77'
expect 77 'CUDA sees no GPU'
