# shellcheck shell=bash
# Sourced by a recipe: `watched COMMAND ...` runs a command that gets the signals sent to the recipe. It can end with the
# recipe too, in whatever way that ends: DUALTK_PARENT tells `dualtk` whose end that is.

watched() {
  local status=0 parent=$BASHPID child name
  # A process group of its own: a Ctrl-C of the terminal reaches the command once, through the recipe.
  set -m
  DUALTK_PARENT=$parent "$@" </dev/null &
  child=$!
  set +m
  # shellcheck disable=SC2064
  for name in HUP INT TERM USR1; do trap "kill -$name $child 2>/dev/null || true" "$name"; done
  while true; do
    status=0
    wait "$child" 2>/dev/null || status=$?
    kill -0 "$child" 2>/dev/null || break # else a signal has ended the waiting, not the command
  done
  trap - HUP INT TERM USR1
  return "$status"
}
