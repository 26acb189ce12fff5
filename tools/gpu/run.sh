#!/usr/bin/env bash
# Everything that wants a GPU, within minutes: each part has its own limit, writes its log as it goes and, once it has
# succeeded, is not run again into the same folder. Without a GPU the parts run tiny, to see that they run.
#
#     tools/gpu/run.sh OUT [PART ...]        parts: machine tests losses tune step decode train suite
#
# PYTHON     the interpreter; .venv's if there is one, else python3
# WHEELS     folder of wheels to install into OUT/site first, for a machine that lacks some
# CORPUS     folder of LibriSpeech/<set>, FLAC or Opus, for `train`; SETS="train dev test" names its sets
# CTM        word times of its test set
# SECONDS_OF_TRAINING  in `train`, 240; SCALE multiplies every limit
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd) && shift
parts=("$@") && [ $# -gt 0 ] || parts=(machine tests losses tune step decode train)
python=${PYTHON:-$root/.venv/bin/python} && [ -x "$python" ] || python=$(command -v python3)
scratch=${SCRATCH:-$out}
export PYTHONPATH=$root PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ -n "${WHEELS:-}" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$scratch/site" "$WHEELS"/*.whl || exit
  PYTHONPATH=$root:$scratch/site
fi
mkdir -p "$scratch/bin" && printf '#!/bin/sh\nexec "%s" -m dualtk.bin.dualtk "$@"\n' "$python" >"$scratch/bin/dualtk"
chmod +x "$scratch/bin/dualtk" && export PATH=$scratch/bin:$PATH
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then gpu=1; else gpu=0; fi
processes=$(nproc)
failed=0

part() { # run part $1 for at most $2 seconds
  local name=$1 limit=$(($2 * ${SCALE:-1})) began=$SECONDS status=0
  [ ! -f "$out/$name.done" ] || return 0
  timeout --kill-after=10 "$limit" bash -c "${*:3}" >"$out/$name.log" 2>&1 || status=$?
  if [ "$status" -eq 0 ]; then touch "$out/$name.done"; else failed=$((failed + 1)); fi
  echo "== $name: exit $status after $((SECONDS - began)) s (limit $limit s)"
}

machine() { part machine 20 "nvidia-smi; \"$python\" \"$root/tools/check_install.py\" || true"; }
tests() {
  if ((gpu)); then set -- -m gpu "$root/test/lattice"; else set -- "$root/test/lattice/test_triton.py"; fi
  part tests 90 "cd \"$root\" && \"$python\" -m pytest -v --tb=short -p no:cacheprovider $*"
}
suite() { # the tests that choose a device themselves
  local folders="test/lattice test/transducer test/distill test/encoders test/search test/streaming test/train test/pruning"
  part suite 150 "cd \"$root\" && \"$python\" -m pytest -v --tb=short -p no:cacheprovider -n $processes -m 'not gpu' $folders"
}
losses() {
  if ((gpu)); then set -- --only cuda --rounds 15; else set -- --only exact --rounds 1; fi
  part losses 90 "\"$python\" \"$root/tools/bench/transducer.py\" $*"
}
tune() { if ((gpu)); then part tune 90 "\"$python\" \"$root/tools/gpu/tune.py\""; fi; }
step() {
  local bench="\"$python\" \"$root/tools/bench/step.py\""
  if ((gpu)); then
    part step 100 "for p in bfloat16 float32; do for b in 8 32; do $bench --batch \$b --rounds 7 --precision \$p; done; done"
  else
    part step 100 "$bench --batch 1 --seconds 2 --rounds 1"
  fi
}
decode() {
  if ((gpu)); then set -- --utterances 100; else set -- --utterances 2; fi
  part decode 60 "\"$python\" \"$root/tools/gpu/decode.py\" $*"
}
train() {
  if [ -z "${CORPUS:-}" ]; then echo "== train: left out, CORPUS is not given" && return; fi
  read -ra sets <<<"${SETS:-train-clean-100 dev-clean test-aligned}"
  local seconds=${SECONDS_OF_TRAINING:-240} tiny=""
  if ((!gpu)); then seconds=5 tiny="model.encoder.num_layers=1 train.precision=float32 batches.max_frames=3000"; fi
  part train $((seconds + 120)) "\"$root/tools/gpu/train.sh\" \"$scratch/recipe\" $seconds \"$CTM\" \"$CORPUS\" ${sets[*]} $tiny"
  cp "$scratch"/recipe/exp/*_gpu/RESULTS.md "$scratch"/recipe/exp/*_gpu/metrics.jsonl "$out/" 2>/dev/null || true
}

for name in "${parts[@]}"; do
  case $name in
    machine) machine ;;
    tests) tests ;;
    suite) suite ;;
    losses) losses ;;
    tune) tune ;;
    step) step ;;
    decode) decode ;;
    train) train ;;
    *) echo "run.sh: error: no part is called $name" >&2 && exit 2 ;;
  esac
done
exit "$failed"
