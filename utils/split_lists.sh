# shellcheck shell=bash
# Sourced by a recipe: lists in its options become arrays.

# The list in each variable named: spaces separate its items, and one that has spaces itself stands in quotes.
split() {
  local _name _items
  for _name in "$@"; do
    if ! _items=$(xargs -r printf '%s\n' <<<"${!_name}" 2>/dev/null); then
      printf '%s: error: --%s: a quote is not closed: %s\n' "${0##*/}" "${_name//_/-}" "${!_name}" >&2
      exit 2
    fi
    unset -v "$_name"
    if [ -n "$_items" ]; then mapfile -t "$_name" <<<"$_items"; else declare -ga "$_name=()"; fi
  done
}

# The changes KEY=VALUE of a configuration in the array named. A value may hold spaces, as {name: stateless, dim: 16} does:
# what separates two changes are those before a KEY=.
split_changes() {
  local -n _changes=$1
  mapfile -t _changes < <(printf '%s\n' "${_changes[@]}" | sed -E 's/ +([a-z_]+(\.\w+)*=)/\n\1/g' | sed '/^ *$/d')
}
