#!/usr/bin/env bash
# Free Spoken Digit Dataset: real speech in minutes, and the worked example of a new corpus.
#
# Stage -1 downloads the corpus, stage 0 joins its digits into utterances as Kaldi data directories (local/prepare.py);
# every other option goes on to ../../librispeech/asr1/run.sh, whose help follows.
set -euo pipefail

# Options
stage=0         # first stage to run
stop_stage=5    # last stage to run
work_dir=       # where data/ and exp/ go; the recipe's folder if empty
fsdd=           # folder of FSDD, with recordings/ in it; work-dir/downloads/fsdd if empty
nj=2            # processes, of training too
utterances=2400 # utterances of the training set
test_rounds=4   # times that every recording of the test set occurs
noise_snr=      # add white noise this many dB below the speech; none if empty
size=cpu        # what the method is based on: cpu, or paper as in the LibriSpeech recipe
seed=0          # of the order of digits, the pauses between them and the noise

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
other_options=()
. "$here/../../../utils/parse_options.sh"
. "$here/../../librispeech/asr1/path.sh"
work_dir=${work_dir:-$here}
fsdd=${fsdd:-$work_dir/downloads/fsdd}

if [ "$size" = cpu ]; then size=$here/conf/cpu.yaml; fi
recipe=("$here/../../librispeech/asr1/run.sh" --work-dir "$work_dir" --nj "$nj" --ncpu "$nj"
  --train-dir "$work_dir/data/train" --dev-dir "$work_dir/data/dev" --test-dirs "$work_dir/data/test"
  --conf dual_no_distillation --size "$size" --default-size cpu "${other_options[@]}")
if [[ " ${other_options[*]} " != *" --help "* ]]; then
  "${recipe[@]}" --stage -2 --stop-stage -2 # no stage: what is wrong with the options is said before anything is made
  if [ "$stage" -le -1 ] && [ ! -d "$fsdd" ]; then
    echo "== stage -1: download to $fsdd"
    git clone --depth 1 https://github.com/Jakobovski/free-spoken-digit-dataset.git "$fsdd.part"
    mv "$fsdd.part" "$fsdd"
  fi
  if [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ]; then
    echo "== stage 0: utterances of digits"
    python3 "$here/local/prepare.py" "$fsdd/recordings" "$work_dir/data" --utterances "$utterances" \
      --test-rounds "$test_rounds" ${noise_snr:+--noise-snr "$noise_snr"} --seed "$seed"
  fi
  if [ "$stop_stage" -lt 0 ]; then exit 0; fi
  if [ "$stage" -lt 0 ]; then stage=0; fi
fi

exec "${recipe[@]}" --stage "$stage" --stop-stage "$stop_stage"
