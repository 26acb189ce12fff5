"""What a machine can do to a training, done to a small one again and again: kills, signals, full disks, changed bytes.

    python tools/torture.py --minutes 5

A trial survives where the run, continued by the same command, ends in the same bytes as one that nothing happened to;
where a damaged file is refused by name, or holds what it held; and where a second run is refused and changes nothing.
Prints a table, and ends with status 1 if a trial did not survive. Other kinds of fault: add a function to `KINDS`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

import torch  # noqa: E402
from slurm_here import free_ports  # noqa: E402
from tiny import WORDS, train_arguments, write_set  # noqa: E402

from dualtk.bin import train  # noqa: E402
from dualtk.bin.dualtk import run  # noqa: E402
from dualtk.data.batches import Batch  # noqa: E402
from dualtk.data.kaldi import list_utterances  # noqa: E402
from dualtk.data.tokens import TokenOptions, write_tokenizer  # noqa: E402
from dualtk.errors import InputError  # noqa: E402
from dualtk.tensors import read_safetensors  # noqa: E402
from dualtk.train.checkpoint import load_training  # noqa: E402
from dualtk.train.progress import Progress  # noqa: E402
from dualtk.train.stepping import Stepper  # noqa: E402

PATIENCE = 20  # times as long as the first training, after which one counts as hanging
FLIPS = 50  # changed bytes of one trial
EPOCHS = ["train.max_steps=4 epochs", "batches.max_frames=120"]
CHOICES = ["train.average_best=2", "batches.cache=false", "batches.num_workers=1"]


class Lost(Exception):
    """A trial that did not survive: how."""


@dataclass
class Torture:
    """A corpus, a training of it that nothing happened to, and chance."""

    folder: Path
    chance: random.Random
    seconds: float = 60.0
    count: Any = field(default_factory=itertools.count)

    def prepare(self) -> None:
        """Write the corpus and train once."""
        write_set(self.folder / "train", 24, seed=1)
        write_set(self.folder / "dev", 6, seed=2)
        write_tokenizer(self.folder / "lang", [" ".join(WORDS)], TokenOptions(size=24))
        began = time.monotonic()
        self.finish(self.whole)
        self.seconds = time.monotonic() - began

    @property
    def longest(self) -> float:
        """Seconds that a training may take."""
        return PATIENCE * self.seconds

    @property
    def whole(self) -> Path:
        """The experiment that nothing happened to."""
        return self.folder / "whole"

    def start(self, exp: Path, room: int | None = None) -> Any:
        """A training in a process of its own, which may write files of at most `room` bytes."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dualtk.bin.training"])
        arguments = train_arguments(self.folder, exp, *CHOICES)
        process = context.Process(target=_train, args=(arguments, str(exp) + ".err", room))
        process.start()
        return process

    def start_ranks(self, exp: Path, count: int, notes: Path) -> list[Any]:
        """A training of `count` processes; each notes what it takes in a file of `notes`."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dualtk.bin.training"])
        arguments = train_arguments(self.folder, exp, *CHOICES, *EPOCHS)
        common = {
            "WORLD_SIZE": count,
            "LOCAL_WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": free_ports(),
        }
        notes.mkdir()
        ranks = []
        for rank in range(count):
            names = {key: str(value) for key, value in {"RANK": rank, "LOCAL_RANK": rank, **common}.items()}
            one = context.Process(target=_train_rank, args=(arguments, str(exp) + ".err", names, notes / str(rank)))
            one.start()
            ranks.append(one)
        return ranks

    def finish(self, exp: Path) -> None:
        """Train to the end, or go on to it."""
        require_end(self.start(exp), exp, self.longest)

    def compare(self, exp: Path) -> None:
        """Raise Lost unless `exp` ended as the whole one did, and remove it."""
        if (exp / "model.safetensors").read_bytes() != (self.whole / "model.safetensors").read_bytes():
            raise Lost("model.safetensors is another one")
        if not _same(*(load_training(one / "checkpoints/last.pt", torch.device("cpu")) for one in (exp, self.whole))):
            raise Lost("last.pt is another one")
        lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines()]
        steps = [line["step"] for line in lines if line["kind"] == "train"]
        if steps != list(range(1, 13)):
            raise Lost(f"metrics.jsonl has the steps {steps}")
        left = [path.name for path in exp.rglob("*") if path.name.endswith(".part") or path.name == ".lock"]
        if left:
            raise Lost(f"left behind: {left[0]}")
        shutil.rmtree(exp)

    def new(self) -> Path:
        """A folder for an experiment."""
        return self.folder / f"exp{next(self.count)}"

    def wait(self, processes: int = 1) -> None:
        """Any moment of a training, as likely as any other."""
        time.sleep(self.chance.uniform(0.0, 1.1 * self.seconds * processes))


def require_end(process: Any, exp: Path, longest: float) -> None:
    """Raise Lost unless it ends well."""
    process.join(longest)
    if process.exitcode != 0:
        process.kill()
        raise Lost(f"continued, it ended with {process.exitcode}: {said(exp)}")


def _train_rank(arguments: list[str], errors: str, names: dict[str, str], notes: Path) -> None:
    os.environ.update(names)
    take = Stepper.take

    def note(stepper: Stepper, batches: Sequence[Batch], progress: Progress) -> bool:
        done = take(stepper, batches, progress)
        with notes.open("a") as file:
            for batch in (one for one in batches if one.share):
                file.writelines(f"{progress.step} {progress.epoch} {name}\n" for name in batch.utterances)
        return done

    Stepper.take = note  # type: ignore[method-assign, assignment]
    _train(arguments, errors, None)


def taken(runs: list[Path]) -> Counter[tuple[int, str]]:
    """How often each utterance of each epoch was taken, by the notes of runs that followed each other: a run that began
    again with a step took the place of those from it on."""
    steps: dict[int, list[tuple[int, str]]] = {}
    for run_ in runs:
        lines = [line.split() for path in run_.iterdir() for line in path.read_text().splitlines()]
        first = min((int(step) for step, _, _ in lines), default=None)
        steps = {step: names for step, names in steps.items() if first is None or step < first}
        for step, epoch, name in lines:
            steps.setdefault(int(step), []).append((int(epoch), name))
    return Counter(name for names in steps.values() for name in names)


def _train(arguments: list[str], errors: str, room: int | None) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    sys.argv = ["dualtk train", *arguments]
    sys.exit(run(train.main, arguments))


def said(exp: Path) -> str:
    """The last line on stderr."""
    path = Path(f"{exp}.err")
    return (path.read_text(errors="replace").splitlines() or [""])[-1] if path.exists() else ""


def require_no_traceback(exp: Path) -> None:
    """Raise Lost where a user would see one."""
    if "Traceback" in Path(f"{exp}.err").read_text(errors="replace"):
        raise Lost("a traceback on stderr")


def killed(torture: Torture) -> int:
    """SIGKILL at any moment, twice, then to the end."""
    exp = torture.new()
    for _ in range(2):
        process = torture.start(exp)
        torture.wait()
        process.kill()
        process.join()
    torture.finish(exp)
    torture.compare(exp)
    return 1


def signalled(torture: Torture) -> int:
    """SIGTERM, SIGUSR1 or SIGINT at any moment, then to the end."""
    exp, number = torture.new(), torture.chance.choice([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
    process = torture.start(exp)
    torture.wait()
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(torture.longest)
    if process.exitcode not in (0, 128 + number, -number):  # the last before Python has set its own way
        raise Lost(f"{number.name} ended it with {process.exitcode}: {said(exp)}")
    require_no_traceback(exp)
    torture.finish(exp)
    torture.compare(exp)
    return 1


def twice(torture: Torture) -> int:
    """A second run in the folder of one that trains."""
    exp = torture.new()
    first = torture.start(exp)
    torture.wait()
    second = torture.start(exp)
    second.join(torture.longest)
    first.join(torture.longest)
    if sorted([first.exitcode, second.exitcode]) not in ([0, 0], [0, 2]):  # one after the other is no fault
        raise Lost(f"they ended with {first.exitcode} and {second.exitcode}: {said(exp)}")
    require_no_traceback(exp)
    torture.compare(exp)
    return 1


def without_room(torture: Torture) -> int:
    """A disk that is full at any size of file, then to the end."""
    exp = torture.new()
    largest = (torture.whole / "checkpoints/last.pt").stat().st_size
    process = torture.start(exp, room=torture.chance.randrange(largest + 1000))
    process.join(torture.longest)
    if process.exitcode not in (0, 2):
        raise Lost(f"without room it ended with {process.exitcode}: {said(exp)}")
    require_no_traceback(exp)
    torture.finish(exp)
    torture.compare(exp)
    return 1


def other_numbers(torture: Torture) -> int:
    """1, 2 or 4 processes, of which one is killed or all are told to stop, three times; then one to the end."""
    exp, kills = torture.new(), 3
    runs = [torture.folder / f"{exp.name}-notes{index}" for index in range(kills + 1)]
    for notes in runs[:-1]:
        ranks = torture.start_ranks(exp, torture.chance.choice([1, 2, 4]), notes)
        torture.wait(len(ranks))
        number = torture.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
        for rank in [torture.chance.choice(ranks)] if number == signal.SIGKILL else ranks:
            if rank.is_alive():
                os.kill(rank.pid, number)
        for rank in ranks:
            rank.join(torture.longest)
            if rank.exitcode is None:
                rank.kill()
                raise Lost(f"{len(ranks)} processes: one stayed after {number.name}")
    require_end(torture.start_ranks(exp, 1, runs[-1])[0], exp, torture.longest)
    counts = taken(runs)
    utterances, epochs = set(list_utterances(torture.folder / "train").entries), max(epoch for epoch, _ in counts)
    if any(counts[epoch, name] != 1 for epoch in range(epochs) for name in utterances) or max(counts.values()) > 1:
        raise Lost(f"utterances were left out or repeated: {counts.most_common(3)} ... {counts.most_common()[-3:]}")
    if epochs < 2:
        raise Lost(f"only {epochs} whole epochs")
    shutil.rmtree(exp)
    return kills


@contextmanager
def changed(path: Path, chance: random.Random) -> Any:
    """One byte of `path` is another, or its end is cut off."""
    whole = path.read_bytes()
    place = chance.randrange(len(whole))
    rest = bytes([whole[place] ^ chance.randrange(1, 256)]) + whole[place + 1 :] if chance.random() < 0.9 else b""
    path.write_bytes(whole[:place] + rest)
    try:
        yield
    finally:
        path.write_bytes(whole)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _flip(torture: Torture, name: str, read: Callable[[Path], Any]) -> int:
    path = torture.whole / name
    right = read(path)
    for _ in range(FLIPS):
        with changed(path, torture.chance):
            try:
                found = read(path)
            except InputError as error:
                if str(path) not in str(error) or "\n" in str(error):
                    raise Lost(f"refused without one line that names it: {error}") from error
                continue
            if not _same(right, found):
                raise Lost(f"{name}: another content was read")
    return FLIPS


def changed_state(torture: Torture) -> int:
    """A byte of a training state."""
    return _flip(torture, "checkpoints/last.pt", lambda path: load_training(path, torch.device("cpu")))


def changed_network(torture: Torture) -> int:
    """A byte of a network."""
    return _flip(torture, "model.safetensors", lambda path: read_safetensors(path)[0])


KINDS: dict[str, Callable[[Torture], int]] = {
    "training killed twice by SIGKILL, continued": killed,
    "training sent SIGTERM, SIGUSR1 or SIGINT, continued": signalled,
    "a second run in the folder of one that trains": twice,
    "training on a disk that becomes full, continued": without_room,
    "1, 2 or 4 processes, killed or stopped, then another number: each utterance of an epoch once": other_numbers,
    "a byte changed in a training state, or its end cut off": changed_state,
    "a byte changed in a network, or its end cut off": changed_network,
}


def main() -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all kinds together (default: 5)")
    parser.add_argument("--only", metavar="TEXT", default="", help="the kinds whose names hold this text")
    parser.add_argument("--seed", type=int, default=None, help="of what happens when (default: another each time)")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    kinds = {kind: trial for kind, trial in KINDS.items() if options.only in kind}
    if not kinds:
        parser.error(f"--only {options.only}: no kind of fault has this in its name")
    began, counts, lost = time.monotonic(), dict.fromkeys(kinds, 0), []
    with tempfile.TemporaryDirectory() as name:
        torture = Torture(Path(name), random.Random(seed))
        torture.prepare()
        for kind, trial in itertools.cycle(kinds.items()):
            if time.monotonic() - began > 60 * options.minutes:
                break
            try:
                counts[kind] += trial(torture)
            except Lost as error:
                counts[kind] += 1
                lost.append((kind, str(error)))
                print(f"lost: {kind}: {error}", file=sys.stderr)
    print(f"Seed {seed}, {time.monotonic() - began:.0f} s; a training takes {torture.seconds:.1f} s.\n")
    print("| what happens | trials | survived |\n| --- | ---: | ---: |")
    for kind, count in counts.items():
        print(f"| {kind} | {count} | {count - sum(one == kind for one, _ in lost)} |")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
