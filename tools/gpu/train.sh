#!/usr/bin/env bash
# The LibriSpeech recipe with conf/gpu.yaml for the minutes that there are: from audio to the table of both modes.
#
#     tools/gpu/train.sh WORK_DIR SECONDS CTM CORPUS TRAIN_SET DEV_SET TEST_SET [CHANGE ...]
#
# A run of a few steps tells what a step takes; as many are then made as fit into SECONDS, which counts training alone.
set -euo pipefail

work=$1 seconds=$2 ctm=$3 corpus=$4 train=$5 dev=$6 test=$7
shift 7
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../egs/librispeech/asr1" && pwd)
run() {
  "$recipe/run.sh" --librispeech "$corpus" --train-sets "$train" --dev-sets "$dev" --test-sets "$test" \
    --ctm "$ctm" --size gpu --work-dir "$work" --nj "$(nproc)" "$@"
}
changes="$*"
run --stop-stage 3 --tag probe \
  --set "train.max_steps=80 train.log_every=10 sampled_steps=40 train.validate_every=80 train.max_valid_utterances=2 $changes"
steps=$(python3 - "$work"/exp/*_probe/metrics.jsonl "$seconds" <<'END'
import json, sys
from pathlib import Path
lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
lines = [one for one in lines if one["kind"] == "train"]
steps = {b["step"]: (b["time"] - a["time"]) / (b["step"] - a["step"]) for a, b in zip(lines, lines[1:])}
sampled, both = min(steps[step] for step in steps if step <= 40), min(steps[step] for step in steps if step > 50)
print(int(float(sys.argv[2]) / (0.75 * sampled + 0.25 * both)))
print(f"{1e3 * sampled:.0f} ms a step of one mode, {1e3 * both:.0f} ms of both", file=sys.stderr)
END
)
echo "$steps steps"
run --stage 3 --set "train.max_steps=$steps $changes"
