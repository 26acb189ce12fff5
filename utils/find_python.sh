#!/usr/bin/env bash
# Print a Python interpreter of one of the versions given (3.11 ...), the first in their order that can make a virtual
# environment. Each candidate is run: a name on PATH may be a pyenv shim of a version that is not selected.
set -euo pipefail

# Is "$1" Python $2 with venv and pip?
works() {
  "$1" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" >/dev/null 2>&1
}

for version in "$@"; do
  for candidate in python3 "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
    if works "$candidate" "$version"; then
      command -v "$candidate"
      exit 0
    fi
  done
done
echo "find_python.sh: error: no Python $* with venv found; on Debian: apt install python3-venv" >&2
exit 2
