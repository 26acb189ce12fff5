#!/usr/bin/env bash
# LibriSpeech, or any corpus in its layout or in Kaldi data directories: from audio to a table of both modes.
#
# Stages: -1 download, 0 data directories, 1 features, 2 wordpieces, 3 training, 4 decoding, 5 scoring. A stage whose
# inputs did not change is skipped; a killed one is continued by the same command. A corpus of Kaldi data directories
# needs --train-dir, --dev-dir and --test-dirs only. Items of a list are separated by spaces.
set -euo pipefail

# Options
stage=0               # first stage to run
stop_stage=5          # last stage to run
librispeech=downloads # folder that holds LibriSpeech/<set>
train_sets="train-clean-100 train-clean-360 train-other-500" # sets to train on
dev_sets="dev-clean dev-other"    # sets that choose checkpoints
test_sets="test-clean test-other" # sets to decode
ctm=                  # files of word times besides the corpus's own <set>.ctm
train_dir=            # Kaldi data directory to train on, instead of --train-sets
dev_dir=              # Kaldi data directory instead of --dev-sets
test_dirs=            # Kaldi data directories instead of --test-sets
work_dir=             # where data/ and exp/ go; the recipe's folder if empty
task=transducer       # or pretrain: wav2vec 2.0 without transcripts, stages 0, 1 and 3
conf=conf/dual_conformer.yaml # the system and its training
train_args=           # more options of dualtk train, such as "--set train.max_steps=10"
decode_conf=          # file with options of dualtk decode, one a line
modes="streaming full" # modes to decode in
tag=                  # added to the name of the experiment
exp=                  # experiment folder; work-dir/exp/<conf>[_<tag>] if empty
nbpe=500              # number of wordpieces
bpe_type=unigram      # unigram or bpe
speed_perturb=        # speeds such as 0.9,1.0,1.1; none if empty
features=fbank        # or samples, as in the configuration; each kind needs its own --work-dir
num_mels=80           # mel bins, as in the configuration
nj=2                  # processes of feature extraction
ngpu=1                # GPUs to train on: 1 is the GPU or else the CPU, 0 the CPU, more are run by torchrun
ncpu=0                # processes to train on the CPU with, one thread each; 0 follows --ngpu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/parse_options.sh"
. "$here/path.sh"
. "$here/cmd.sh"

# The path $1 as written, from the current folder, or else from the work folder, or else from the recipe's.
locate() {
  for folder in . "$work_dir" "$here"; do
    if [[ $1 != /* ]] && [ -e "$folder/$1" ]; then echo "$folder/$1" && return; fi
  done
  echo "$1"
}
runs() { # does stage $1 run? Pre-training has neither wordpieces nor anything to decode.
  ((stage <= $1 && $1 <= stop_stage)) && echo "== stage $1: $2" && { [[ $task$1 != pre*[245] ]] || ! echo skipped; }; }

work_dir=${work_dir:-$here}
conf=$(locate "$conf")
exp=${exp:-$work_dir/exp/$(basename "$conf" .yaml)${tag:+_$tag}}
bpe=$work_dir/data/lang_$bpe_type$nbpe no_text=$([ "$task" != pretrain ] || echo --no-text)
read -ra train_sets <<<"$train_sets" && read -ra dev_sets <<<"$dev_sets" && read -ra test_sets <<<"$test_sets"
read -ra modes <<<"$modes" && read -ra train_args <<<"$train_args" && read -ra ctm <<<"$ctm"
if [ -n "$train_dir$dev_dir$test_dirs" ]; then
  train=$train_dir dev=$dev_dir corpus=kaldi
  if [ -d "$test_dirs" ]; then tests=("$test_dirs"); else read -ra tests <<<"$test_dirs"; fi
  if [ -z "$train" ] || [ -z "$dev" ] || [ ${#tests[@]} -eq 0 ]; then
    echo "run.sh: error: --train-dir, --dev-dir and --test-dirs go together" >&2 && exit 2
  fi
else
  corpus=librispeech train=$work_dir/data/train dev=$work_dir/data/dev tests=()
  for set in "${test_sets[@]}"; do tests+=("$work_dir/data/${set//-/_}"); done
fi
if [ "$ngpu" -eq 0 ] || [ "$ncpu" -gt 0 ]; then device=cpu ngpu=$ncpu; else device=auto; fi

if runs -1 "download to $librispeech"; then
  dualtk prepare-librispeech --librispeech "$librispeech" --download \
    --sets "${train_sets[@]}" "${dev_sets[@]}" "${test_sets[@]}"
fi

if runs 0 "data directories"; then
  if [ "$corpus" = librispeech ]; then
    dualtk prepare-librispeech --librispeech "$librispeech" --output "$work_dir/data" --ctm "${ctm[@]}" \
      --combine train "${train_sets[@]}" --combine dev "${dev_sets[@]}" --sets "${test_sets[@]}"
  fi
  dualtk validate ${no_text:+"$no_text"} "$train" "$dev" "${tests[@]}"
fi

if runs 1 "features"; then
  extract=(dualtk features --nj "$nj" --kind "$features" --num-mels "$num_mels")
  "${extract[@]}" --cmvn ${speed_perturb:+--speed-perturb "$speed_perturb"} "$train"
  "${extract[@]}" "$dev" "${tests[@]}"
fi

if runs 2 "$nbpe wordpieces"; then
  dualtk bpe --text "$train/text" --nbpe "$nbpe" --type "$bpe_type" --output "$bpe"
fi

if runs 3 "training of $exp"; then
  launch=(dualtk train)
  if [ "$ngpu" -gt 1 ]; then launch=(torchrun --standalone --nproc-per-node "$ngpu" --module dualtk.bin.train); fi
  "${train_cmd[@]}" "${launch[@]}" --task "$task" --config "$conf" --exp "$exp" --bpe "$bpe" --device "$device" \
    --train-dir "$train${speed_perturb:+_sp}" --dev-dir "$dev" "${train_args[@]}"
fi

if runs 4 "decoding"; then
  decode_args=()
  if [ -n "$decode_conf" ]; then mapfile -t decode_args < <(grep -v '^ *\(#\|$\)' "$(locate "$decode_conf")"); fi
  for data in "${tests[@]}"; do
    for mode in "${modes[@]}"; do
      "${decode_cmd[@]}" dualtk decode --exp "$exp" --mode "$mode" --data "$data" --bpe "$bpe" --device "$device" \
        "${decode_args[@]}"
    done
  done
fi

if runs 5 "scoring"; then
  for data in "${tests[@]}"; do
    for mode in "${modes[@]}"; do
      dualtk score --data "$data" --decode "$exp/decode/$(basename "$data")-$mode"
    done
  done
  dualtk analyse "$exp" --data "${tests[0]}" --bpe "$bpe"
  dualtk report "$exp"
  dualtk results "$exp"
fi
