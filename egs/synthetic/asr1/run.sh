#!/usr/bin/env bash
# The embedded default: a corpus made on the spot by espeak-ng, then the LibriSpeech recipe, minutes on a CPU.
#
# Stage 0 first writes the corpus; every other option goes on to ../../librispeech/asr1/run.sh, whose help follows.
set -euo pipefail

# Options
stage=0        # first stage to run
stop_stage=5   # last stage to run
work_dir=      # where corpus/, data/ and exp/ go; the recipe's folder if empty
corpus=        # folder of the corpus; work-dir/corpus if empty
nj=2           # processes, of training too
hours=3.0      # hours of training speech
fragments=0.35 # share of it in utterances of one to three words
dev=120        # utterances to choose checkpoints by
test=300       # utterances to decode
size=cpu       # what the method is based on: cpu, or paper as in the LibriSpeech recipe
seed=0         # of sentences, voices and noise
noise_snr=     # add noise this many dB below the speech; none if empty
rate_scale=1.0 # multiplies the words per minute of all speakers

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
other_options=()
. "$here/../../../utils/parse_options.sh"
. "$here/../../librispeech/asr1/path.sh"
work_dir=${work_dir:-$here}
corpus=${corpus:-$work_dir/corpus}

if [ "$size" = cpu ]; then size=$here/conf/cpu.yaml; fi
recipe=("$here/../../librispeech/asr1/run.sh" --work-dir "$work_dir" --nj "$nj" --ncpu "$nj" --librispeech "$corpus"
  --train-sets train-synthetic --dev-sets dev-synthetic --test-sets test-synthetic --conf dual_no_distillation --size "$size"
  --default-size cpu --decode-conf "$here/conf/decode.conf" "${other_options[@]}")
if [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ] && [[ " ${other_options[*]} " != *" --help "* ]]; then
  "${recipe[@]}" --stage -2 --stop-stage -2 # no stage: what is wrong with the options is said before minutes have gone
  echo "== stage 0: corpus"
  python3 "$here/local/make_corpus.py" "$corpus" --hours "$hours" --fragments "$fragments" --dev "$dev" --test "$test" \
    --seed "$seed" --rate-scale "$rate_scale" --nj "$nj" ${noise_snr:+--noise-snr "$noise_snr"}
fi
if [ "$stage" -lt 0 ]; then stage=0; fi

exec "${recipe[@]}" --stage "$stage" --stop-stage "$stop_stage"
