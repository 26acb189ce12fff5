# shellcheck shell=bash
# Sourced by a recipe: where the dualtk command is, which ends with the recipe, and its Python. An active virtual
# environment that has it comes first, then .venv of the checkout, then whatever PATH holds.

_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
if [ ! -x "${VIRTUAL_ENV:-/nonexistent}/bin/dualtk" ] && [ -x "$_root/.venv/bin/dualtk" ]; then
  PATH=$_root/.venv/bin:$PATH
fi
if ! command -v dualtk >/dev/null; then
  printf '%s: error: dualtk is not installed: run "make .venv" in %s\n' "${0##*/}" "$_root" >&2
  exit 2
fi
PATH=$(dirname "$(readlink -f "$(command -v dualtk)")"):$PATH
export PATH LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
. "$_root/utils/pass_signals.sh"
dualtk() { watched env dualtk "$@"; }
unset -v _root
