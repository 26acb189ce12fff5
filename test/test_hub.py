"""Model folders on a hub: what huggingface_hub's client sends to a stand-in server, and what comes back."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_here import Hub, serve
from small_experiment import write_experiment
from small_networks import speech

import dualtk
from dualtk.bin import pack
from dualtk.bin.dualtk import run
from dualtk.checksums import FILE

pytestmark = pytest.mark.slow

TOKEN = "hf_SecretThatNobodyMaySee"
REPOSITORY = "somebody/tiny"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    assert run(pack.main, [str(write_experiment(folder / "exp")), str(folder / "model")]) == 0
    return folder / "model"


def call(hub: Hub, home: Path, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, for the client reads its environment when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "DUALTK_DEBUG": "1"}
    command = [sys.executable, "-m", "dualtk.bin.dualtk", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert token not in done.stdout + done.stderr
    for path in home.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path
    return done


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_pushed_comes_back(hub: Hub, packed: Path, tmp_path: Path) -> None:
    (packed / "notes.txt").write_text("mine alone")
    try:
        done = call(hub, tmp_path, "push", packed, REPOSITORY, "--private")
    finally:
        (packed / "notes.txt").unlink()
    assert done.returncode == 0, done.stderr
    commit, files = hub.repositories[REPOSITORY][-1]
    assert done.stdout == f"{hub.url}/{REPOSITORY} at {commit}\n"
    assert files == contents(packed)
    assert hub.private == {REPOSITORY}
    weights = hashlib.sha256((packed / "model.safetensors").read_bytes()).hexdigest()
    assert list(hub.objects) == [weights]  # large files by their sum, through LFS

    hub.commit(REPOSITORY, {".gitattributes": b"*.safetensors filter=lfs", "model.safetensors": b"of a later day"})
    out = tmp_path / "models/pulled"
    done = call(hub, tmp_path, "pull", REPOSITORY, out, "--revision", commit)
    assert (done.returncode, done.stdout) == (0, f"{out} at {commit}\n"), done.stderr
    assert contents(out) == contents(packed)
    for path in [out, *out.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    samples = speech(30000, 1).numpy()
    texts = [dualtk.load(one).transcribe(samples, "two-pass", rate=16000).text for one in (packed, out)]
    assert texts[0]
    assert texts[0] == texts[1]

    done = call(hub, tmp_path, "pull", REPOSITORY, tmp_path / "other")  # the later one
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"dualtk: error: {REPOSITORY}/model.safetensors: altered or cut short: its SHA-256 is "
    )
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_folder_that_is_there_is_left_alone(hub: Hub, packed: Path, tmp_path: Path) -> None:
    before = contents(packed)
    done = call(hub, tmp_path, "pull", REPOSITORY, packed)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"dualtk: error: {packed}: exists already")
    assert contents(packed) == before
    assert not hub.requests


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("altered", "model/config.yaml: altered or cut short"),
        ("no sums", f"no model folder, it has no {FILE}: write one by `dualtk pack`"),
        ("elsewhere", f"model/{FILE}:1: ../config.yaml is not in the folder"),
    ],
)
def test_nothing_is_pushed_that_is_no_whole_model(hub: Hub, packed: Path, tmp_path: Path, damage, words) -> None:
    folder = tmp_path / "model"
    for name, content in contents(packed).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if damage == "altered":
        (folder / "config.yaml").write_text("format: 2\n")
    elif damage == "no sums":
        (folder / FILE).unlink()
    else:
        (folder / FILE).write_text(f"{'0' * 64}  ../config.yaml\n")
    done = call(hub, tmp_path, "push", folder, REPOSITORY)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert not hub.requests


def test_what_the_hub_refuses_is_one_line_without_the_token(hub: Hub, packed: Path, tmp_path: Path) -> None:
    """The server here says again who asked, in its answer and in a header."""
    done = call(hub, tmp_path, "push", packed, REPOSITORY, token="hf_AnotherSecretOfSomebody")
    line = f"dualtk: error: {REPOSITORY}: the hub answers 401: not allowed: set HF_TOKEN, or run `hf auth login`"
    assert (done.returncode, done.stderr.splitlines()[-1].startswith(line)) == (2, True), done.stderr
    done = call(hub, tmp_path, "pull", "nobody/nothing", tmp_path / "out")
    line = "dualtk: error: nobody/nothing: the hub answers 404: no such repository, revision or file"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, line)
    hub.repositories["somebody/else"] = []
    hub.commit("somebody/else", {FILE: f"{'0' * 64}  README.md\n".encode(), "README.md": b""})
    done = call(hub, tmp_path, "pull", "somebody/else", tmp_path / "out")
    line = f"dualtk: error: somebody/else: no model folder of `dualtk pack`: its {FILE} has no config.yaml"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, line)
    assert not (tmp_path / "out").exists()


def test_a_hub_that_is_not_there(packed: Path, tmp_path: Path) -> None:
    with serve(TOKEN) as hub:
        pass
    done = call(hub, tmp_path, "pull", REPOSITORY, tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"dualtk: error: {REPOSITORY}: ConnectError: ")
