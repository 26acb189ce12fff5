#!/usr/bin/env bash
# A Kaldi data directory of every N-th utterance of another, without features: subset_data_dir.sh SOURCE N DEST
set -euo pipefail

if [ $# -ne 3 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
  echo "subset_data_dir.sh: error: expected SOURCE N DEST, N a whole number of at least 1" >&2
  exit 2
fi
source=$1 every=$2 dest=$3
if [ ! -f "$source/utt2spk" ]; then
  echo "subset_data_dir.sh: error: $source: no data directory: it has no utt2spk" >&2
  exit 2
fi

mkdir -p "$dest"
part=$(mktemp -d "$dest/.subset.XXXXXX")
trap 'rm -rf "$part"' EXIT
awk -v every="$every" 'NR % every == 1 || every == 1' "$source/utt2spk" >"$part/utt2spk"
for table in wav.scp segments text utt2dur words.ctm; do
  if [ -f "$source/$table" ]; then
    awk 'NR == FNR { kept[$1]; next } $1 in kept' "$part/utt2spk" "$source/$table" >"$part/$table"
  fi
done
if [ -f "$source/segments" ]; then # recordings, not utterances, are what wav.scp lists
  awk 'NR == FNR { kept[$2]; next } $1 in kept' "$part/segments" "$source/wav.scp" >"$part/wav.scp"
fi
# Paths are looked for as the toolkit does: as written, then from the source. In the subset they are absolute.
while read -r name path; do
  for candidate in "$path" "$source/$path" "$source/${path##*/}"; do
    if [ -f "$candidate" ]; then
      if [[ $candidate == /* ]]; then path=$candidate; else path=$PWD/$candidate; fi
      break
    fi
  done
  printf '%s %s\n' "$name" "$path"
done <"$part/wav.scp" >"$part/absolute"
mv "$part/absolute" "$part/wav.scp"
awk '{ spoken[$2] = spoken[$2] " " $1 } END { for (one in spoken) print one spoken[one] }' "$part/utt2spk" |
  LC_ALL=C sort >"$part/spk2utt"
for table in "$part"/*; do mv "$table" "$dest/"; done
echo "$dest: $(wc -l <"$dest/utt2spk") of $(wc -l <"$source/utt2spk") utterances"
