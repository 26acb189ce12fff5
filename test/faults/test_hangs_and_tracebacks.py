"""What hung, or showed a traceback: one line that names utterance, file or key, status 2, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults_world import World, edit, write_corpus

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def limited(world: World, limit: str, *arguments: object) -> tuple[int, str]:
    """Status and stderr of a command under `ulimit`, in a process of its own."""
    command = ["bash", "-c", f'ulimit {limit}; exec "$@"', "limited", sys.executable, "-m", "dualtk.bin.dualtk"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    whole = [*command, *map(str, arguments)]
    done = subprocess.run(whole, cwd=world.path, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def one_line(status: int, said: str) -> str:
    """The error, which is the only one."""
    lines = [line for line in said.splitlines() if "error:" in line]
    assert status == 2, said
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


# Kind: a configuration that can make no progress.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.accumulate=50", "train.accumulate"),
        ("batches.max_utterance_frames=3", "max_utterance_frames"),
        ("train.accumulate=7", "train.accumulate"),
    ],
)
def test_no_progress_is_refused(made, change, said) -> None:
    assert said in made.refused(*made.train("batches.max_frames=120", change))
    assert not (made.path / "new/model.safetensors").exists()


# Kind: a library's exception reaches the user.


@pytest.mark.slow
@pytest.mark.parametrize("command", ["decode", "transcribe", "train"])
def test_memory_that_is_not_there_names_the_utterance(world, command) -> None:
    import soundfile
    from small_networks import speech

    soundfile.write("corpus/audio/s1-u1.wav", speech(16000 * 1200, 1).numpy(), 16000, "PCM_16")
    assert world.make_features().status == 0
    arguments = {
        "decode": world.decode("--max-frames", 200000),
        "transcribe": ("transcribe", "--exp", "exp", "--mode", "full", "--no-endpoints", "corpus/audio/s1-u1.wav"),
        "train": tuple(world.train("batches.max_frames=200000", "batches.max_utterance_frames=200000")),
    }[command]
    line = one_line(*limited(world, "-v 6500000", *arguments))
    assert "s1-u1" in line
    assert "memory" in line


@pytest.mark.slow
@pytest.mark.parametrize("change", ["cut", "nan", "gone"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_process_names_what_it_could_not_read(made, change, workers) -> None:
    first = Path("made/corpus/feats.scp").read_text().splitlines()[0]
    archive = Path(first.split(maxsplit=1)[1].rpartition(":")[0])
    content = archive.read_bytes()
    if change == "cut":
        archive.write_bytes(content[: len(content) // 2])
    elif change == "nan":
        archive.write_bytes(content[:-64] + b"\xff" * 64)
    else:
        archive.rename(archive.with_suffix(".away"))
    line = one_line(*limited(made, "-c 0", *made.train("batches.cache=false", f"batches.num_workers={workers}")))
    assert "s1-u" in line or "s2-u" in line or archive.name in line


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 8, 16])
def test_a_full_disk_names_the_file(made, blocks) -> None:
    line = one_line(*limited(made, f"-f {blocks}", *made.train("model.encoder.dim=64")))
    assert "cannot be written" in line or "File too large" in line


@pytest.mark.parametrize(
    "content", [b"s1-u0 BM\x00\x00junk", b"", b"s1-u0 \x00BFM \x04\xff\xff\xff\x7f\x04\xff\xff\xff\x7f"]
)
def test_a_corrupt_archive_names_the_utterance(made, content) -> None:
    Path("made/bad.ark").write_bytes(content)
    edit(
        "made/corpus/feats.scp",
        lambda text: "".join([f"s1-u0 {made.path}/made/bad.ark:6\n", *text.splitlines(True)[1:]]),
    )
    line = made.refused(*made.decode())
    assert "s1-u0" in line
    assert not Path("decoded").exists()


@pytest.mark.parametrize("ids", ["s1-u(1)", "s1-u1)", "(s1-u1"])
def test_a_parenthesis_in_an_id_is_found_by_validate(world, ids) -> None:
    for name in ("text", "utt2spk", "wav.scp"):
        edit(f"corpus/{name}", lambda text: text.replace("s1-u1 ", f"{ids} "))
    result = world("validate", "corpus")
    assert result.status == 2
    assert ids in result.err + result.out


# Kind: paths glued as text.


@pytest.mark.parametrize("name", ["corpus/", "./corpus//", "corpus/../corpus"])
def test_a_slash_at_the_end_is_no_other_folder(world, name) -> None:
    assert world.make_features(name).status == 0
    assert Path("made/corpus/feats.scp").exists()
    result = world(*world.train("train.max_steps=1"))
    assert result.status == 0, result.err


@pytest.mark.slow
@pytest.mark.parametrize("slash", ["/", "//"])
def test_a_slash_at_the_end_goes_through_run_sh(world, slash) -> None:
    write_corpus(world.path / "dev")
    command = [ROOT / "egs/librispeech/asr1/run.sh", "--work-dir", "w", "--train-dir", f"corpus{slash}"]
    command += [
        "--dev-dir",
        f"dev{slash}",
        "--test-dirs",
        f"dev{slash}",
        "--size",
        "cpu",
        "--nbpe",
        "20",
        "--ngpu",
        "0",
    ]
    command += ["--nj", "1", "--stop-stage", "3", "--speed-perturb", "0.9,1.0"]
    command += ["--set", "train.max_steps=2 train.validate_every=2 train.save_every=2 model.encoder.num_layers=1"]
    done = subprocess.run([str(part) for part in command], cwd=world.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (world.path / "w/exp/dual_conformer_cpu/model.safetensors").exists()
