#!/usr/bin/env bash
# Make an environment with the k2 of the package index, to test the transducer losses against.
# That k2 exists for Python 3.10 and torch 1.13.1 only, so it cannot live beside the torch that dualtk uses.
#
# Usage: tools/install_k2.sh [folder]        (default: .venv-k2 beside setup.py)
# PYTHON310 names the interpreter (default: python3.10). Running it again does nothing if the environment works.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$here/.venv-k2}
python=${PYTHON310:-python3.10}

works() {
  "$1" -c 'import k2, numba, pytest, hypothesis, torch; k2.mutual_information_recursion' > /dev/null 2>&1
}

if works "$folder/bin/python"; then
  echo "install_k2: $folder works already"
  exit 0
fi

if ! "$python" --version > /dev/null 2>&1; then
  # pyenv has a python3.10 for every version, which only works where that version is chosen.
  version=$(command -v pyenv > /dev/null && pyenv versions --bare 2> /dev/null | grep -E '^3\.10\.' | tail -n 1 || true)
  if [ -z "$version" ]; then
    echo "install_k2: error: no Python 3.10 found; set PYTHON310 to one" >&2
    exit 2
  fi
  export PYENV_VERSION=$version
fi

part=$folder.part
rm -rf "$part" "$folder"
"$python" -m venv "$part"
# k2's Linux wheels are named py3.9-none-any and so on, which pip reads as "any Python 3", and takes one of them; the hash is
# that of the wheel for 3.10.
echo "k2==1.23.4 --hash=sha256:1404589732fdb7f6f5bf62297a20dd73318b7b4f2e10dd52dc3d5b6669688a4c" > "$part/k2.txt"
"$part/bin/python" -m pip install --quiet --no-deps --requirement "$part/k2.txt"
"$part/bin/python" -m pip install --quiet "numpy<2" "k2==1.23.4" "torch==1.13.1" numba pytest hypothesis typing_extensions
works "$part/bin/python" || { echo "install_k2: error: k2 was installed but does not import" >&2; exit 1; }
mv "$part" "$folder" # a venv moves whole: only its scripts name the folder, and they are called through python -m
echo "install_k2: $folder is ready"
