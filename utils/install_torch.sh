#!/usr/bin/env bash
# Install a CPU build of torch into the environment of a Python, where there is no NVIDIA driver that another could use:
# it takes a fourth of the disk. What the rest of the environment needs, torch's own dependencies too, is left to pip.
#
# Usage: utils/install_torch.sh PYTHON [REQUIREMENT]     (default: torch>=2.8)
# TORCH_INDEX: index to take torch from, whatever the machine: a URL, or a folder of wheels or of an index
#   (default: https://download.pytorch.org/whl/cpu). An index that cannot be reached is said, and torch is left to pip.
set -euo pipefail

python=${1:?usage: utils/install_torch.sh PYTHON [REQUIREMENT]}
requirement=${2:-torch>=2.8}
index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

version() { "$python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null; }

# Without the configuration of the usual index: what else it offers would be taken where its number is higher.
install() {
  PIP_CONFIG_FILE=/dev/null env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u PIP_CONSTRAINT \
    "$python" -m pip install --disable-pip-version-check --quiet --no-deps --retries 1 --timeout 20 "$@" "$requirement"
}

if found=$(version); then
  echo "== torch $found is there already"
  exit 0
fi
if [ -z "${TORCH_INDEX:-}" ]; then
  if nvidia-smi -L >/dev/null 2>&1; then
    echo "== torch: the usual index's, as nvidia-smi finds an NVIDIA driver"
    exit 0
  fi
  why="as there is no NVIDIA driver"
else
  why="as TORCH_INDEX says"
fi
if [ -d "$index" ]; then
  index=$(cd "$index" && pwd)
  if [ -d "$index/torch" ]; then from=(--index-url "file://$index"); else from=(--no-index --find-links "$index"); fi
else
  from=(--index-url "$index")
fi
if said=$(install "${from[@]}" 2>&1); then
  echo "== torch $(version) from $index, $why"
  exit 0
fi
broken=$(sed -n 's/.*connection broken by .*: \([^:]*\)'"')'"': .*/\1/p' <<<"$said" | tail -n 1) # pip's words for it
said=$(sed -n 's/^ERROR: //p' <<<"$said" | tail -n 1)
if [ -d "$index" ]; then
  echo "install_torch.sh: error: $index: $said" >&2
  exit 2
fi
echo "== torch: the usual index's, as $index ${broken:+cannot be reached: }${broken:-has none: $said}"
