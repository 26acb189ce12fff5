"""Several machines, of which each is here an agent of torchrun or a node of Slurm on this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_here import Slurm, free_ports, installed, slurm
from tiny import train_arguments

from dualtk.errors import InputError
from dualtk.train.launch import Agents, agents
from dualtk.train.slurm import Step, first_host, step

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "RANK", "WORLD_SIZE"))},
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}
STARTED: list[subprocess.Popen[str]] = []
TASK = Step("7.0.0", "n1", 20217, rank=2, local_rank=0, tasks=4, nodes=2)


def command(arguments: list[str], *more: object) -> list[str]:
    return [sys.executable, "-m", "dualtk.bin.dualtk", "train", *arguments, *map(str, more)]


def start(arguments: list[str], *more: object) -> subprocess.Popen[str]:
    call = command(arguments, *more)
    node = subprocess.Popen(call, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(node)
    return node


def long_training(corpus: Path, exp: Path, *overrides: str) -> list[str]:
    """As many steps as leave time for a signal to come between them."""
    return train_arguments(corpus, exp, "train.max_steps=80", "train.validate_every=40", *overrides)


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    """What a test that failed has started ends with it."""
    yield
    for node in STARTED:
        if node.poll() is None:
            node.terminate()
    STARTED.clear()


@pytest.fixture
def meeting() -> list[object]:
    """Options of each of two nodes."""
    return ["--num-nodes", 2, "--rendezvous", f"127.0.0.1:{free_ports()}"]


def network(exp: Path) -> bytes:
    return (exp / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def on_one(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The network that four processes train on one node."""
    exp = tmp_path_factory.mktemp("one") / "exp"
    done = start(long_training(corpus, exp), "--processes", 4)
    error = done.communicate(timeout=600)[1]
    assert done.returncode == 0, error
    return network(exp)


def test_the_first_of_a_list_of_nodes() -> None:
    names = {"n1": "n1", "gpu[007-009,012],cpu1": "gpu007", "a,b[1-2]": "a", "r[1,3]n[04-05]": "r1n04"}
    assert {nodes: first_host(nodes) for nodes in names} == names


def test_a_step_is_what_srun_started() -> None:
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}
    assert step({}) is step(batch) is step({**batch, "SLURM_STEP_NUM_TASKS": "1"}) is None
    inside = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "4"}
    found = step({**batch, **inside, "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_NUM_NODES": "2"})
    assert found == TASK


def test_who_starts_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    here = (None, 60, "name")
    assert agents(None, None, *here, None) is agents(1, 1, *here, None) is None
    assert agents(3, None, *here, None) == Agents(3)
    assert agents(3, 2, "n1:7", 60, "name", None) == Agents(3, 2, "n1:7", "name", 60)
    one_each = Step("7.0.0", "n1", 20217, rank=1, local_rank=0, tasks=2, nodes=2)
    assert agents(4, 2, *here, one_each) == Agents(4, 2, "n1:20217", "7.0.0", 60, is_host=False)
    assert "RANK" not in os.environ
    assert agents(2, None, *here, TASK) is agents(None, 2, *here, TASK) is None
    assert [os.environ[name] for name in names] == ["2", "0", "4", "n1", "20217"]


@pytest.mark.parametrize(
    ("processes", "nodes", "task", "line"),
    [
        (1, 2, None, "--num-nodes: 2, but nothing says where they meet"),
        (2, 3, TASK, "--num-nodes: 3, but srun started tasks on 2"),
        (3, 2, TASK, "--processes: 3 on each of 2 nodes, but srun started 4 tasks"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(processes: int, nodes: int, task: Step | None, line: str) -> None:
    with pytest.raises(InputError, match=line):
        agents(processes, nodes, None, 60, "name", task)


@pytest.mark.slow
def test_two_agents_train_as_one_node_does(corpus: Path, tmp_path: Path, on_one: bytes, meeting: list[object]) -> None:
    """Each with two processes; and a signal to one of them ends both with the state saved."""
    arguments = long_training(corpus, tmp_path / "exp", "train.save_every=1000")
    nodes = [start(arguments, "--processes", 2, *meeting) for _ in range(2)]
    log = tmp_path / "exp/train.log"
    until = time.monotonic() + 500
    while not (log.exists() and "step 2:" in log.read_text()):
        assert time.monotonic() < until
        assert all(node.poll() is None for node in nodes), [node.communicate()[1] for node in nodes]
        time.sleep(0.02)
    nodes[1].send_signal(signal.SIGUSR1)
    errors = [node.communicate(timeout=120)[1] for node in nodes]
    assert sorted(node.returncode for node in nodes) == [138, 143], errors
    assert "Traceback" not in "".join(errors)
    nodes = [start(arguments, "--processes", 2, *meeting) for _ in range(2)]
    errors = [node.communicate(timeout=600)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    assert "continuing from step" in log.read_text()
    assert network(tmp_path / "exp") == on_one


@pytest.mark.slow
def test_a_second_run_is_refused_by_all_of_its_nodes(corpus: Path, tmp_path: Path, meeting: list[object]) -> None:
    """In one line of one of them."""
    from test_locks import holder

    with holder(tmp_path / "exp/.lock") as process:
        nodes = [start(long_training(corpus, tmp_path / "exp"), *meeting) for _ in range(2)]
        errors = [node.communicate(timeout=120)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [2, 2], errors
    said = [line for line in "".join(errors).splitlines() if "error" in line]
    assert len(said) == 1, errors
    assert f"exp: another run is at work there: process {process.pid} on " in said[0]


@pytest.mark.slow
def test_a_node_that_is_lost_ends_the_others(corpus: Path, tmp_path: Path, meeting: list[object]) -> None:
    arguments = long_training(corpus, tmp_path / "exp", "train.max_steps=100000", "train.validate_every=100000")
    nodes = [start(arguments, *meeting) for _ in range(2)]
    until = time.monotonic() + 500
    while not (tmp_path / "exp/checkpoints/last.pt").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    nodes[0].kill()
    error = nodes[1].communicate(timeout=120)[1]
    assert nodes[1].returncode in (1, 2), error  # 2 where it was the one at whose address they met
    assert "Traceback" not in error
    nodes[0].communicate(timeout=60)


@pytest.mark.slow
def test_a_node_that_does_not_come_is_said_in_one_line(corpus: Path, tmp_path: Path, meeting: list[object]) -> None:
    node = start(long_training(corpus, tmp_path / "exp"), *meeting, "--rendezvous-timeout", 2)
    error = node.communicate(timeout=120)[1]
    assert (node.returncode, error.count("\n")) == (2, 1), error
    assert error.startswith(f"dualtk: error: --rendezvous {meeting[-1]}: 2 nodes did not meet there within 2 seconds")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Two nodes."""
    if not installed():
        pytest.skip("no slurmctld and slurmd that this user may start (Debian: apt install slurm-wlm)")
    with slurm(tmp_path_factory.mktemp("slurm") / "here") as here:
        yield here


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "options"),
    [(2, []), (1, ["--processes", 2])],  # a task is a process, or an agent that starts two
)
def test_srun_of_two_nodes_trains_as_one_node_does(
    corpus: Path,
    tmp_path: Path,
    cluster: Slurm,
    on_one: bytes,
    tasks: int,
    options: list[object],
) -> None:
    # The names of these nodes are Slurm's alone, so that they have to be told where to meet.
    options = [*options, "--rendezvous", f"127.0.0.1:{free_ports()}"]
    call = ["srun", "--nodes=2", f"--ntasks-per-node={tasks}", "--mem=2G"]
    call += command(long_training(corpus, tmp_path / "exp"), *options)
    done = cluster.call(*call, **{key: ENVIRONMENT[key] for key in ("PYTHONPATH", "OMP_NUM_THREADS")})
    assert done.returncode == 0, done.stderr
    assert network(tmp_path / "exp") == on_one


@pytest.mark.slow
def test_a_job_that_is_warned_saves_and_is_begun_again(
    corpus: Path, tmp_path: Path, cluster: Slurm, on_one: bytes
) -> None:
    """tools/slurm/train.sbatch; what nobody warned is not begun again."""
    log, exp = tmp_path / "job.log", tmp_path / "exp"
    arguments = [*long_training(corpus, exp, "train.save_every=1000"), "--processes", 2]
    arguments += ["--rendezvous", f"127.0.0.1:{free_ports()}"]
    paths = os.pathsep.join([str(Path(sys.executable).parent), ENVIRONMENT["PATH"]])
    done = cluster.call(
        *("sbatch", "--parsable", "--nodes=2", "--cpus-per-task=2", "--mem=2G", f"--output={log}"),
        *(ROOT / "tools/slurm/train.sbatch", *arguments),
        **{"PATH": paths, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    job = done.stdout.strip()
    assert job.isdigit(), done.stderr

    def state(*fields: str) -> list[str]:
        lines = cluster.call("scontrol", "--oneliner", "show", "job", job).stdout.split()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return [values.get(field, "") for field in fields]

    def wait_for(what: str, *fields: str) -> None:
        until = time.monotonic() + 500
        while what != " ".join(state(*fields)):
            assert time.monotonic() < until, (state(*fields), log.read_text())
            time.sleep(0.1)

    until = time.monotonic() + 500
    while not ((exp / "train.log").exists() and "step 2:" in (exp / "train.log").read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
    cluster.call("scancel", "--batch", "--signal=USR1", job)  # as Slurm does before the limit
    wait_for("PENDING 1", "JobState", "Restarts")
    assert "the same command continues" in log.read_text()
    cluster.wait_until_left(job)
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits two minutes
    wait_for("COMPLETED 1", "JobState", "Restarts")
    assert "continuing from step" in (exp / "train.log").read_text()
    assert network(exp) == on_one
