#!/usr/bin/env bash
# LibriSpeech, or any corpus in its layout or in Kaldi data directories: from audio to a table of both modes.
#
# Stages: -1 download, 0 data directories, 1 features, 2 tokens, 3 training, 4 decoding, 5 scoring. A stage whose inputs
# did not change is skipped; a killed one is continued by the same command. Kaldi data directories need --train-dir,
# --dev-dir and --test-dirs only; nothing is written into them. The method (--conf) says what features and tokens it wants;
# several methods live beside each other in one --work-dir. Items of a list are separated by spaces; one that has spaces
# itself stands in quotes. --set may be repeated.
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
work_dir=             # where data/, features/, tokens/ and exp/ go; the recipe's folder if empty
conf=dual_conformer   # the method: a name of egs/methods, or the path of a YAML
size=paper            # what the method is based on: paper, cpu, or the path of a YAML
default_size=paper    # the size that the name of an experiment leaves out
set=()                # changes of the configuration, such as "train.max_steps=10 tokens.size=100"
train_args=           # more options of dualtk train
decode_conf=          # file with options of dualtk decode, one a line
modes=                # modes to decode in; all of the configuration if empty
searches=             # more searches than that of --decode-conf: greedy, beam8 (any width), ctc; each has folders of its own
tag=                  # added to the name of the experiment
exp=                  # experiment folder; work-dir/exp/<conf>[_<size>][_<tag>] if empty
nbpe=                 # number of tokens, instead of the configuration's
bpe_type=             # unigram, bpe or char, instead of the configuration's
speed_perturb=        # speeds such as 0.9,1.0,1.1, instead of the configuration's
num_mels=             # mel bins, instead of the configuration's
sample_rate=0         # Hz of the features, such as 8000, whose mel bins end 400 Hz below half of it; 0: as configured
channel=0             # of recordings with several, from 1, where data directories say none; 0: none
nj=2                  # processes of feature extraction
ngpu=1                # GPUs to train on: 1 is the GPU or else the CPU, 0 the CPU, more are run by torchrun
ncpu=0                # processes to train on the CPU with, one thread each; 0 follows --ngpu
num_nodes=1           # machines to train on, each with so many GPUs or processes; see cmd.sh

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/split_lists.sh" && . "$here/../../../utils/searches.sh" && . "$here/path.sh"

runs() { ((stage <= $1 && $1 <= stop_stage)) && echo "== stage $1: $2"; } # does stage $1 run?
locate() { # the file $1, as written, in the work folder or in the recipe's, or else the file $2
  for path in "$1" "$work_dir/$1" "$here/$1" "${@:2}"; do [ ! -f "$path" ] || break; done
  if [ -f "$path" ]; then echo "$path"; else echo "$1"; fi
}
work_dir=${work_dir:-$here} size_name=$(basename "$size" .yaml)
conf=$(locate "$conf" "$here/../../methods/$(basename "$conf" .yaml).yaml")
size=$(locate "$size" "$here/conf/$size.yaml")
if [ "$size_name" != "$default_size" ]; then tag=$size_name${tag:+_$tag}; fi
exp=${exp:-$work_dir/exp/$(basename "$conf" .yaml)${tag:+_$tag}}
split train_sets dev_sets test_sets train_args ctm && split_changes set && read_searches
set+=(${nbpe:+"tokens.size=$nbpe"} ${bpe_type:+"tokens.type=$bpe_type"} ${num_mels:+"features.num_mels=$num_mels"}
  ${speed_perturb:+"features.speeds=[$speed_perturb]"})
((sample_rate == 0)) || set+=("features.sample_rate=$sample_rate" "features.high_frequency=$((sample_rate / 2 - 400))")
if ((channel)); then channels=(--channel "$channel"); else channels=(); fi
config=(--config "$conf" --size "$size") && for change in "${set[@]}"; do config+=(--set "$change"); done
if [ -n "$train_dir$dev_dir$test_dirs" ]; then
  if [ -d "$test_dirs" ]; then tests=("$test_dirs"); else split test_dirs && tests=("${test_dirs[@]}"); fi
  if [ -z "$train_dir" ] || [ -z "$dev_dir" ] || [ ${#tests[@]} -eq 0 ]; then
    echo "run.sh: error: --train-dir, --dev-dir and --test-dirs go together" >&2 && exit 2
  fi
  corpus=kaldi train=$train_dir dev=$dev_dir
else
  corpus=librispeech train=$work_dir/data/train dev=$work_dir/data/dev tests=()
  for one in "${test_sets[@]}"; do tests+=("$work_dir/data/${one//-/_}"); done
fi
names=$(dualtk config name "${config[@]:1}" --directories "$train" "$dev" "${tests[@]}") # ends here, with its line, if at fault
{ read -r task features tokens workers all_modes && mapfile -t sets; } <<<"$names" && read -ra modes <<<"${modes:-$all_modes}"
features=$work_dir/features/$features tokens=$work_dir/tokens/$tokens
if [ "$ngpu" -eq 0 ] || [ "$ncpu" -gt 0 ]; then device=cpu ngpu=$ncpu; else device=auto; fi
processes=$((ngpu > 1 ? ngpu : 1)) && . "$here/cmd.sh"

if runs -1 "download to $librispeech"; then
  dualtk prepare-librispeech --librispeech "$librispeech" --download --sets "${train_sets[@]}" "${dev_sets[@]}" "${test_sets[@]}"
fi
if runs 0 "data directories"; then
  if [ "$corpus" = librispeech ]; then
    dualtk prepare-librispeech --librispeech "$librispeech" --output "$work_dir/data" --ctm "${ctm[@]}" \
      --combine train "${train_sets[@]}" --combine dev "${dev_sets[@]}" --sets "${test_sets[@]}"
  fi
  if [ "$task" = pretrain ]; then no_text=--no-text; fi
  dualtk validate --nj "$nj" "${channels[@]}" ${no_text:+"$no_text"} "$train" "$dev" "${tests[@]}"
fi
if runs 1 "features in $features"; then
  dualtk features "${config[@]}" --out "$features" --nj "$nj" "${channels[@]}" --train "$train" "$dev" "${tests[@]}"
fi
train=$features/${sets[0]} dev=$features/${sets[1]} sets=("${sets[@]:2}") tests=("${sets[@]/#/$features/}")
if [ "$task" != pretrain ] && runs 2 "tokens in $tokens"; then
  dualtk tokens "${config[@]}" --text "$train/text" --out "$tokens"
fi
if runs 3 "training of $exp"; then
  "${train_cmd[@]}" dualtk train --num-nodes "$num_nodes" --processes "$processes" "${config[@]}" --exp "$exp" --work-dir "$work_dir" --tokens "$tokens" \
    --device "$device" --train-dir "$train" --dev-dir "$dev" "${train_args[@]}"
fi
if [ "$task" != pretrain ] && runs 4 "decoding"; then
  decode_args=()
  if [ -n "$decode_conf" ]; then mapfile -t decode_args < <(grep -v '^ *\(#\|$\)' "$(locate "$decode_conf")"); fi
  decode() { "${decode_cmd[@]}" dualtk decode --exp "$exp" --data "$1" --mode "$2" --out "$3" --device "$device" "${decode_args[@]}" "${@:4}"; }
  each_decoding decode
fi
if [ "$task" != pretrain ] && runs 5 "scoring"; then
  score() { dualtk score --data "$1" --decode "$3"; }
  each_decoding score
  if why=$(python3 -c 'import dualtk.bin.reporting' 2>&1 | tail -n 1); then
    dualtk analyse "$exp" --data "${tests[0]}"
    dualtk report "$exp" --data "${tests[@]}"
  else echo "no figures and no report: ${why#dualtk.errors.InputError: }"; fi
  dualtk results "$exp"
fi
