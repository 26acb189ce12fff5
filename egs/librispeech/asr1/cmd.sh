# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh: what training and decoding are run with. DUALTK_CMD=local (the default) runs them here,
# DUALTK_CMD=slurm through srun, one task on one node with the GPUs and processes that run.sh asks for;
# DUALTK_SRUN_ARGS holds further options of srun (--partition ...). `dualtk` must be on PATH of the node.

case ${DUALTK_CMD:-local} in
  local)
    train_cmd=(watched env)
    decode_cmd=(watched env)
    ;;
  slurm)
    read -ra _more <<<"${DUALTK_SRUN_ARGS:-}"
    _srun=(watched srun --nodes=1 --ntasks=1 --cpus-per-task="$nj" "${_more[@]}")
    train_cmd=("${_srun[@]}" --job-name=dualtk-train)
    decode_cmd=("${_srun[@]}" --job-name=dualtk-decode)
    if [ "$ngpu" -gt 0 ]; then
      train_cmd+=(--gres="gpu:$ngpu")
      decode_cmd+=(--gres=gpu:1)
    fi
    unset -v _more _srun
    ;;
  *)
    printf '%s: error: DUALTK_CMD is %s, expected local or slurm\n' "${0##*/}" "$DUALTK_CMD" >&2
    exit 2
    ;;
esac
