"""What a machine does to files: a disk without room, a byte that changed, numbers that are none."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import train_arguments, write_set

from dualtk.bin.train import main
from dualtk.errors import InputError
from dualtk.memory import enough_memory
from dualtk.tensors import read_safetensors, write_safetensors
from dualtk.train.checkpoint import load_training, save_training

CPU = torch.device("cpu")


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = {f"layer.{index}.weight": torch.randn(16, 16, generator=generator) for index in range(3)}
    return {**found, "count": torch.tensor(3), "mask": torch.rand(9, generator=generator) > 0.5}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full: writing beyond `size` bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_no_room_is_one_line_and_leaves_what_was_there(tmp_path: Path, size: int) -> None:
    for name, write in (("network", write_safetensors), ("state", save_training)):
        path = tmp_path / name
        write(path, {"old": torch.ones(2)})
        before = path.read_bytes()
        with files_of_at_most(size), pytest.raises(InputError, match=rf"{name}: cannot be written: File too large$"):
            write(path, tensors())
        assert path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"network", "state"}


def test_a_full_file_system_is_one_line(tmp_path: Path) -> None:
    call = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(call, capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        write_safetensors(tmp_path / "network", tensors())
        for write in (write_safetensors, save_training):
            with pytest.raises(InputError, match="more: cannot be written: No space left on device"):
                write(tmp_path / "more", {"weight": torch.zeros(8000)})
        assert [path.name for path in tmp_path.iterdir()] == ["network"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
def test_a_training_without_room_ends_in_one_line_and_continues(corpus: Path, tmp_path: Path) -> None:
    whole, exp = tmp_path / "whole", tmp_path / "exp"
    assert main(train_arguments(corpus, whole)) == 0
    with files_of_at_most(20_000), pytest.raises(InputError, match=r"exp/\S+: cannot be written: File too large$"):
        main(train_arguments(corpus, exp))
    assert not list(exp.rglob("*.part"))
    assert main(train_arguments(corpus, exp)) == 0
    assert (exp / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def read_network(path: Path) -> tuple[Any, Any]:
    return read_safetensors(path)


def read_state(path: Path) -> tuple[Any, Any]:
    state = load_training(path, CPU)
    return state["objective"], state["progress"]


@pytest.mark.slow
@pytest.mark.parametrize("read", [read_network, read_state])
def test_a_byte_that_changed_is_refused_or_was_of_no_account(
    tmp_path: Path, read: Callable[[Path], tuple[Any, Any]]
) -> None:
    """All that a file says is there as it was written, or it is refused, by a line that names it."""
    path, rest = tmp_path / "file", {"layout": "plain"}
    if read == read_network:
        write_safetensors(path, tensors(), rest)
    else:
        save_training(path, {"objective": tensors(), "progress": rest})
    whole, chance = path.read_bytes(), random.Random(1)
    refusals = []
    for place in [*range(400), *(chance.randrange(len(whole)) for _ in range(200))]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ chance.randrange(1, 256)]) + whole[place + 1 :])
        try:
            found, said = read(path)
        except InputError as error:
            refusals.append(str(error))
            continue
        assert found.keys() == tensors().keys(), place
        assert all(torch.equal(found[key], value) for key, value in tensors().items()), place
        assert said == rest or read == read_network, place
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in refusals)
    assert len(refusals) > 300
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        read(path)


def test_a_network_from_elsewhere_has_no_checksum_and_is_read(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "other", {"from": "elsewhere"})
    found, metadata = read_safetensors(tmp_path / "other")
    assert metadata == {"from": "elsewhere"}
    assert all(torch.equal(found[key], value) for key, value in tensors().items())


def spoil(directory: Path, name: str, value: float) -> None:
    """A number of an utterance becomes `value`."""
    feats = dict(kaldiio.load_scp(str(directory / "feats.scp")).items())
    feats[name] = feats[name].copy()
    feats[name][3, 5] = value
    kaldiio.save_ark(str(directory / "feats.ark"), feats, scp=str(directory / "feats.scp"))


def corpus_with(corpus: Path, folder: Path, name: str, value: float) -> Path:
    write_set(folder / "dev", 6, seed=2)
    spoil(folder / "dev", name, value)
    for other in ("train", "lang"):
        (folder / other).symlink_to(corpus / other)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_number_that_is_none_in_validation_is_named_and_left_out(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    """The choice among the steps is that of a set without the utterance."""
    bad, good = corpus_with(corpus, tmp_path / "bad", "spk-2-002", value), tmp_path / "good"
    write_set(good / "dev", 6, seed=2)
    for table in ("feats.scp", "text", "utt2num_frames"):
        lines = (good / "dev" / table).read_text().splitlines(keepends=True)
        (good / "dev" / table).write_text("".join(line for line in lines if not line.startswith("spk-2-002 ")))
    for other in ("train", "lang"):
        (good / other).symlink_to(corpus / other)
    chosen = []
    for one in (bad, good):
        caplog.clear()
        assert main(train_arguments(one, one / "exp", "train.average_best=2")) == 0
        assert ("for features that are not finite: spk-2-002" in caplog.text) == (one == bad)
        chosen.append(load_training(one / "exp/checkpoints/last.pt", CPU)["progress"]["best"])
        lines = (one / "exp/metrics.jsonl").read_text()
        assert "NaN" not in lines
        assert "Infinity" not in lines
    assert [step for _, step in chosen[0]] == [step for _, step in chosen[1]]
    np.testing.assert_allclose([loss for loss, _ in chosen[0]], [loss for loss, _ in chosen[1]], rtol=1e-5)


@pytest.mark.slow
def test_a_network_that_is_not_finite_is_never_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither displaced by better ones nor averaged with them: it is not there."""
    from dualtk.train import loop

    inner, calls = loop.evaluate, []

    def first_is_none(*arguments: object) -> dict[str, float]:
        calls.append(None)
        values = inner(*arguments)  # type: ignore[arg-type]
        return {key: float("nan") for key in values} if len(calls) == 1 else values

    monkeypatch.setattr(loop, "evaluate", first_is_none)
    assert main(train_arguments(corpus, tmp_path / "exp", "train.average_best=1")) == 0
    assert "step 4: not kept: its validation loss is not finite" in caplog.text
    (best,) = load_training(tmp_path / "exp/checkpoints/last.pt", CPU)["progress"]["best"]
    assert best[1] in (8, 12)
    kept = [path.name for path in (tmp_path / "exp/checkpoints").glob("step-*")]
    assert kept == [f"step-{best[1]}.safetensors"]
    monkeypatch.setattr(loop, "evaluate", lambda *arguments: {"loss": float("nan"), "full/rnnt": float("nan")})
    with pytest.raises(InputError, match="none: no validation loss was finite, so no network was kept"):
        main(train_arguments(corpus, tmp_path / "none"))
    assert not (tmp_path / "none/model.safetensors").exists()


def test_options_with_which_no_step_is_taken_are_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path
) -> None:
    faults = {
        "train.accumulate=50": r"train\.accumulate: 50, but an epoch has \d+ batches$",
        "batches.max_utterance_frames=5": "no utterance is left",
    }
    for override, line in faults.items():
        with pytest.raises(InputError, match=line):
            main(train_arguments(corpus, tmp_path / "exp", override))
        assert not (tmp_path / "exp").exists()


def test_training_goes_only_into_a_folder_of_its_own(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name, line in (("notes", "holds thesis.txt"), ("file", "is no experiment folder")):
        with pytest.raises(InputError, match=rf"{name}: exists and is no experiment folder|{line}"):
            main(train_arguments(corpus, tmp_path / name))
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_a_fault_in_a_process_that_reads_is_one_line_that_names_the_utterance(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    scp = tmp_path / "corpus/train/feats.scp"
    ark = tmp_path / "corpus/train/feats.ark"
    scp.write_text(scp.read_text().replace(str(corpus), str(tmp_path / "corpus")))
    name, location = scp.read_text().splitlines()[-1].split()
    ark.write_bytes(ark.read_bytes()[: int(location.rpartition(":")[2]) + 60])
    for workers in (0, 2):
        options = ["batches.cache=false", f"batches.num_workers={workers}"]
        with pytest.raises(InputError) as caught:
            main(train_arguments(tmp_path / "corpus", tmp_path / f"exp{workers}", *options))
        assert str(caught.value).startswith(f"{scp}: utterance {name}: {ark}: ")
        assert "\n" not in str(caught.value)


def test_what_memory_cannot_hold_is_one_line() -> None:
    for allocate in (lambda: torch.empty(1 << 50), lambda: np.zeros(1 << 50)):
        with (
            pytest.raises(InputError, match=r"^u1 does not fit into memory: cut it$"),
            enough_memory("u1 does not fit", "cut it"),
        ):
            allocate()
    with pytest.raises(RuntimeError, match="shape"), enough_memory("u1 does not fit", "cut it"):
        torch.zeros(3).view(5)


@pytest.mark.slow
def test_a_validation_that_memory_cannot_hold_is_told_before_the_first_step(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    write_set(folder / "dev", 1, seed=3, frames=(60_000, 60_001))
    for other in ("train", "lang"):
        (folder / other).symlink_to(corpus / other)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"validation: utterance spk-3-000 \(60000 frames\) does not fit into mem"):
            main(train_arguments(folder, tmp_path / "exp"))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert not (tmp_path / "exp/metrics.jsonl").exists()


@pytest.mark.slow
def test_every_byte_of_a_states_archive_that_is_no_number_is_watched(tmp_path: Path) -> None:
    """Headers, names, attributes and padding: torch reads by them, and compares none with a checksum."""
    path = tmp_path / "last.pt"
    state = {
        "objective": {f"layer.{k}": torch.randn(3, 4) for k in range(3)},
        "progress": {"step": 3, "best": [(0.5, 2)]},
    }
    save_training(path, state)
    whole = path.read_bytes()
    numbers: set[int] = set()
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            name, extra = (
                int.from_bytes(whole[part.header_offset + k : part.header_offset + k + 2], "little") for k in (26, 28)
            )
            start = part.header_offset + 30 + name + extra
            numbers |= set(range(start + 1, start + part.file_size))
    for place in sorted(set(range(len(whole))) - numbers):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (0x10 if place % 2 else 0xFF)]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            found = load_training(path, CPU)
            assert found["progress"] == state["progress"]
            assert all(torch.equal(found["objective"][key], value) for key, value in state["objective"].items())
