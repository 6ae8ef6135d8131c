#!/usr/bin/env bash
# The first minutes on a GPU, in the order of what the later ones rest on: is it built, is it right, how fast is it,
# what does it train. One piece after the other, none longer than ten minutes; what is done is not done again, so the
# script is simply started anew where a machine was taken away. It leaves a page of results.
#
#   tests/gpu_day.sh [--dry] [--list] [--out DIR] [--data FILE] [--seconds N] [PIECE...]
#
#   --dry      runs nothing; says what would be run, and whether each command exists and takes its options
#   --list     the names of the pieces
#   --out      where the page, the state of the pieces and the runs go (build/gpu_day)
#   --data     CIFAR-10 as an .npz file, for the trainings (ACU_DATA)
#   --seconds  begins no piece that would take longer than what is left of so many seconds; trainings are cut to it
#   PIECE      only these, also where they are done already
#
# It needs PyTorch with CUDA, and acu's other requirements, in the Python that PYTHON names (python3): no network and no
# package registry. Exit status: 0 all that was asked for is done, 1 something failed, 3 something is left to do.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

PYTHON=${PYTHON:-python3}
out=build/gpu_day data=${ACU_DATA:-cifar10.npz} seconds='' dry='' list=''
asked=()
while [ $# -gt 0 ]; do
  case $1 in
    --dry) dry=yes ;;
    --list) list=yes ;;
    --out | --data | --seconds)
      [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
      case $1 in --out) out=$2 ;; --data) data=$2 ;; --seconds) seconds=$2 ;; esac
      shift ;;
    -*) echo "there is no option $1: see the head of $0" >&2; exit 2 ;;
    *) asked+=("$1") ;;
  esac
  shift
done

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export COLUMNS=160
page=$out/page.md
names=() failed=0 left=0

acu=("$PYTHON" -m acu_cli)
tests=("$PYTHON" -m pytest -q -p no:cacheprovider)
few=tests/acu_core/op/test_on_a_gpu.py

wanted() {
  [ ${#asked[@]} -eq 0 ] && return 0
  local name
  for name in "${asked[@]}"; do [ "$name" = "$1" ] && return 0; done
  return 1
}

# Of all seconds that were given, those that are left; a large number where none were.
remaining() {
  if [ -n "$seconds" ]; then echo $((seconds - SECONDS)); else echo 1000000; fi
}

# piece NAME SECONDS KIND TITLE COMMAND...
# KIND: gate (what comes after means nothing without it), check, or part (a piece of something longer: what is stopped at
# the limit has saved, and goes on the next time).
piece() {
  local name=$1 limit=$2 kind=$3 title=$4
  shift 4
  names+=("$name")
  [ -z "$list" ] || { echo "$name"; return; }
  wanted "$name" || return 0
  if [ -n "$dry" ]; then
    printf '%s\0' "$name" "$limit" "$title" "$#" "$@" >> "$plan"
    return
  fi
  if [ ${#asked[@]} -eq 0 ] && [ -e "$out/done/$name" ]; then
    echo "$name: done before"
    return
  fi
  local time
  time=$(remaining)
  if [ "$kind" = part ] && [ "$time" -lt "$limit" ] && [ "$time" -ge 60 ]; then limit=$((time - 25)); fi
  if [ "$time" -lt "$((limit + 25))" ] && [ -n "$seconds" ]; then
    echo "$name: left for later, $time s are left"
    left=1
    return
  fi
  echo "$name: $title (at most $limit s) ..."
  local begin=$SECONDS status verdict
  timeout --kill-after=20 --signal=TERM "$limit" "$@" > "$out/log/$name" 2>&1 < /dev/null
  status=$?
  local took=$((SECONDS - begin))
  case $status in
    0) verdict='done'; : > "$out/done/$name" ;;
    124 | 137 | 143)
      if [ "$kind" = part ]; then verdict="goes on the next time"; left=1; else verdict="stopped at the limit"; failed=1; fi ;;
    *) verdict="failed with status $status"; failed=1 ;;
  esac
  [ "$status" = 0 ] || rm -f "$out/done/$name"
  {
    printf '\n## %s: %s\n\n%s, %d s.\n\n' "$name" "$title" "$verdict" "$took"
    # As it can be typed.
    printf '    %s\n\n' "$(printf '%q ' "$@")"
    printf '~~~text\n'
    # A progress line on a terminal is many lines; a page shows how it ended.
    tr '\r' '\n' < "$out/log/$name" | tail -n 80
    printf '~~~\n'
  } >> "$page"
  echo "$name: $verdict, $took s"
  if [ "$kind" = gate ] && [ "$status" != 0 ]; then
    echo "what comes after $name would mean nothing: see $page" >&2
    exit 1
  fi
}

all() {
  piece machine 60 check "the machine" nvidia-smi
  piece build 400 gate "the operator, where it does not load already" \
    bash -c "\"\$0\" -c 'import sys; from acu_core.op import library; sys.exit(not library.status().cuda)' || ACU_CUDA=1 \
\"\$0\" -c 'import setuptools; setuptools.setup()' -q build_ext --inplace" "$PYTHON"
  piece doctor 120 gate "what there is" "${acu[@]}" doctor
  piece tiny 120 gate "one tiny forward and backward" "${tests[@]}" "$few" -k tiny
  piece verify 240 check "the operator against its reference" "${acu[@]}" doctor --verify --device cuda
  piece tests 400 check "the tests that need a GPU" "${tests[@]}" -m gpu --timeout 300 \
    tests/acu_core/op tests/acu_core/train/test_training_on_a_gpu.py
  local tool
  for tool in memcheck initcheck; do
    piece "$tool" 240 check "few calls under compute-sanitizer, $tool" \
      env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      --kernel-name kernel_substring=acu "${tests[@]}" "$few" -k few --timeout 230
  done
  local kernels shapes=() number
  # The five shapes of the paper's plain network, with more images.
  for number in 512,48,48,32,32,9,1 512,96,96,16,16,9,1 512,192,192,8,8,9,1 512,48,96,32,32,9,2 512,96,192,16,16,9,2; do
    shapes+=(--shape "$number")
  done
  for kernels in auto columns; do
    piece "op-bfloat16-$kernels" 180 check "the operator, bfloat16, 64 images, $kernels" \
      env ACU_CUDA_KERNELS="$kernels" "${acu[@]}" bench op --device cuda --dtype bfloat16 --rounds 15 --quick
    piece "op-float16-$kernels" 180 check "the operator, float16, 64 images, $kernels" \
      env ACU_CUDA_KERNELS="$kernels" "${acu[@]}" bench op --device cuda --dtype float16 --rounds 15 --quick
    piece "op-bfloat16-512-$kernels" 180 check "the operator, bfloat16, 512 images, $kernels" \
      env ACU_CUDA_KERNELS="$kernels" "${acu[@]}" bench op --device cuda --dtype bfloat16 --rounds 15 --quick "${shapes[@]}"
    piece "op-tf32-$kernels" 180 check "the operator, TF32, 64 images, $kernels" \
      env ACU_CUDA_KERNELS="$kernels" "${acu[@]}" bench op --device cuda --tf32 --rounds 15 --quick
  done
  piece op-float32 180 check "the operator, float32, 64 images, with all others" \
    "${acu[@]}" bench op --device cuda --rounds 11
  local batch
  for batch in 64 512; do
    piece "step-$batch" 240 check "whole steps, $batch images, with and without graphs" \
      "${acu[@]}" bench train --device cuda --batch "$batch" --rounds 21 --cuda-graph \
      --precision float32 --precision tf32 --precision bfloat16
  done
  local recipe
  for recipe in cifar10-plain-base cifar10-plain-acu; do
    piece "$recipe" 540 part "the paper's 64,000 iterations, a piece of nine minutes" \
      "${acu[@]}" train "$recipe" --out "$out/runs/$recipe" --continue --device cuda --data "$data" \
      --set machine.precision=tf32 --set machine.cuda_graph=true
  done
}

if [ -n "$list" ]; then
  all
  exit 0
fi
if [ -n "$dry" ]; then
  plan=$(mktemp)
  trap 'rm -f "$plan"' EXIT
  all
  "$PYTHON" tests/support/command_check.py "$plan"
  exit
fi
# Not by a pipe into `grep -q`: who writes more than it reads may end with SIGPIPE, which pipefail makes ours.
known=$(list=yes all)
for name in "${asked[@]}"; do
  case $'\n'$known$'\n' in
    *$'\n'"$name"$'\n'*) ;;
    *) echo "there is no piece $name: ${known//$'\n'/ }" >&2; exit 2 ;;
  esac
done
mkdir -p "$out/done" "$out/log" "$out/runs"
[ -e "$page" ] || printf '# A day on a GPU\n' > "$page"
printf '\n%s, %s, commit %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "$("$PYTHON" -V 2>&1)" \
  "$(git rev-parse --short HEAD 2> /dev/null || echo unknown)" >> "$page"
all
echo "the page: $page"
[ "$failed" = 0 ] || exit 1
[ "$left" = 0 ] || exit 3
