# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh: what its stages are run with. DUALTK_CMD=local (the default) runs them here, DUALTK_CMD=slurm all of
# them through srun, so that nothing heavy runs where run.sh does. Training asks for --num-nodes nodes, and on each for a
# CPU and memory for every process and every one that reads for it (batches.num_workers), and for GPUs unless it is on the
# CPU; what else there is, for --nj CPUs on one node. DUALTK_SRUN_ARGS holds further options of srun (--partition ...),
# which come last: they may ask for more, such as --mem=200G where batches.cache is true. `dualtk` must be on PATH of the
# nodes. tools/slurm/train.sbatch is for trainings that outlast the limit of a job.

case ${DUALTK_CMD:-local} in
  local)
    train_cmd=(watched env)
    decode_cmd=(watched env)
    ;;
  slurm)
    read -ra _more <<<"${DUALTK_SRUN_ARGS:-}"
    _one=(watched srun --nodes=1 --ntasks=1 --cpus-per-task="$nj")
    data_cmd=("${_one[@]}" --job-name=dualtk-data "${_more[@]}")
    train_cmd=(watched srun --nodes="$num_nodes" --ntasks-per-node=1 --job-name=dualtk-train
      --cpus-per-task="$((processes * (1 + workers)))" --mem="$((processes * (4 + workers)))G")
    decode_cmd=("${_one[@]}" --job-name=dualtk-decode)
    if [ "$device" != cpu ]; then
      train_cmd+=(--gres="gpu:$processes")
      decode_cmd+=(--gres=gpu:1)
    fi
    train_cmd+=("${_more[@]}")
    decode_cmd+=("${_more[@]}")
    dualtk() { "${data_cmd[@]}" dualtk "$@"; }
    unset -v _more _one
    ;;
  *)
    printf '%s: error: DUALTK_CMD is %s, expected local or slurm\n' "${0##*/}" "$DUALTK_CMD" >&2
    exit 2
    ;;
esac
