# shellcheck shell=bash disable=SC2154
# Sourced by a recipe: every set in every mode, searched as --decode-conf says and in each other way that --searches names.

read_searches() { # check the names in $searches and make them a list
  read -ra searches <<<"$searches"
  for search in "${searches[@]}"; do
    if [[ ! $search =~ ^(greedy|ctc|beam[1-9][0-9]*)$ ]]; then
      printf '%s: error: --searches: %s is none of greedy, ctc and beam4 (of any width)\n' "${0##*/}" "$search" >&2
      exit 2
    fi
  done
}

each_decoding() { # call $1 with a set, a mode, a folder and the options of a search, for all that is decoded
  local call=$1 data mode search how folder
  for data in "${tests[@]}"; do
    for mode in "${modes[@]}"; do
      for search in "" "${searches[@]}"; do
        folder=$exp/decode/$(basename "$data")-$mode${search:+-$search}
        case $search in
          "") how=() ;;
          ctc) how=(--beam 1 --head ctc) ;;
          greedy) how=(--beam 1) ;;
          beam*) how=(--beam "${search#beam}") ;;
        esac
        "$call" "$data" "$mode" "$folder" "${how[@]}"
      done
    done
  done
}
