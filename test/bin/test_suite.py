"""Suites of `dualtk ablate`: what they say, the runs that they become, and mistakes before the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.bin import ablate
from dualtk.bin.ablation.directories import check_directories
from dualtk.bin.ablation.runs import Run, chosen, plan, streams
from dualtk.bin.ablation.suite import fill, load_suite
from dualtk.bin.dualtk import run
from dualtk.config import FrozenTeacherConfig
from dualtk.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "egs/synthetic/asr1/conf"
SUITES = sorted(ROOT.glob("egs/*/*/conf/suites/*.yaml"))
WHOLE = f"title: x\nmodes: [full]\nsystems:\n  - {{name: a, conf: {CONF}/full_only.yaml}}\n"
TAUGHT = f"""
title: A teacher and its student
seeds: [1, 2]
modes: [streaming]
systems:
  - {{name: full, conf: {CONF}/tt_full.yaml}}
  - {{name: student, conf: {CONF}/tt_hidden.yaml, set: ["teacher.exp={{runs}}/full-{{seed}}"]}}
"""


def planned(folder: Path, text: str, *changes: str) -> list[Run]:
    path = folder / "suite.yaml"
    path.write_text(text)
    return plan(path, load_suite(path), folder / "runs", changes)


def test_runs_and_seed_are_filled_in() -> None:
    assert fill(["teacher.exp={runs}/full-{seed}", "a=1"], Path("r"), 3) == ["teacher.exp=r/full-3", "a=1"]


def test_each_seed_learns_from_its_own_teacher(tmp_path: Path) -> None:
    runs = planned(tmp_path, TAUGHT, "train.max_steps=7")
    assert [one.folder.name for one in runs] == ["full-1", "student-1", "full-2", "student-2"]
    for one in runs:
        assert (one.config.train.seed, one.config.train.max_steps) == (one.seed, 7)
        if one.system.name == "student":
            assert isinstance(one.config.teacher, FrozenTeacherConfig)
            assert one.config.teacher.exp == tmp_path / f"runs/full-{one.seed}"


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parts[-5]}-{path.stem}")
def test_shipped_suites_name_systems_that_exist(path: Path, tmp_path: Path) -> None:
    suite = load_suite(path)
    runs = plan(path, suite, tmp_path)
    assert len(suite.systems) > 1
    assert len(runs) == len(suite.systems) * len(suite.seeds)
    assert streams(suite, runs)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not a mapping of sections"),
        ("title: [\n", r"2: not plain YAML"),
        (WHOLE + "sed: 3\n", "sed"),
        (WHOLE + "beam: 0\n", "beam: Input should be greater than or equal to 1"),
        (WHOLE.replace("[full]", "[]"), "modes: List should have at least 1 item"),
        (WHOLE.replace("conf:", "config:"), r"systems\.0\.conf"),
        (WHOLE + f"  - {{name: a, conf: {CONF}/full_only.yaml}}\n", "systems: a is there twice"),
        (WHOLE + "seeds: [3, 1, 3]\n", "seeds: 3 is there twice"),
        (WHOLE.replace("[full]", "[full, full]"), "modes: full is there twice"),
        (WHOLE.replace("[full]", "[full, streeming]"), "modes: no system has the mode streeming; there are full$"),
        (WHOLE.replace("full_only", "fullonly"), r"a: .*fullonly\.yaml: cannot be read"),
        (WHOLE.replace("}", ", set: [modes.streaming.chunk=3]}"), r"a: modes\.streaming\.chunk: unknown key"),
        (WHOLE.replace("}", ", set: ['train.max_steps=-{seed}']}"), r"a: train\.max_steps: .*, not -1$"),
        (WHOLE.replace("}", ", teacher: true}"), "a: no teacher is trained beside it"),
        (TAUGHT.replace("runs}/full", "runs}/other"), r"student: teacher\.exp: .*/other-1: neither an earlier system"),
        (TAUGHT.replace("name: full", "name: z"), r"student: teacher\.exp: .*/full-1: neither an earlier system"),
        (TAUGHT.replace("full-{seed}", "student-{seed}"), r"/student-1: student has to be trained before"),
        (TAUGHT.replace("full-{seed}", "full-2"), r"student: teacher\.exp: .*/full-2: full has to be trained before"),
        (TAUGHT.replace("full-{seed}", "full-{seed}/teacher"), "full-1/teacher: full leaves no network there"),
        (TAUGHT.replace('seed}"', 'seed}", teacher.mode=fool'), "full-1: has no mode fool; its modes are full$"),
        (TAUGHT.replace('seed}"', 'seed}", "init={exp: no/file}"'), r"student: init\.exp: no/file: neither"),
    ],
)
def test_mistakes_show_before_the_first_run(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(InputError, match=line) as fault:
        planned(tmp_path, text)
    assert str(fault.value).startswith(f"{tmp_path}/suite.yaml:")
    assert "\n" not in str(fault.value)


def test_a_change_that_does_not_fit_every_system_names_the_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suite\.yaml: full: terms\.0\.weight: unknown key"):
        planned(tmp_path, TAUGHT, "terms.0.weight=0.2")


def test_a_student_before_its_teacher_is_refused(tmp_path: Path) -> None:
    lines = TAUGHT.splitlines()
    with pytest.raises(InputError, match=r"student: teacher\.exp: .*/full-1: full has to be trained before"):
        planned(tmp_path, "\n".join([*lines[:-2], lines[-1], lines[-2]]))


def test_a_network_that_was_trained_before_may_teach(tmp_path: Path) -> None:
    before = tmp_path / "runs/full-1"
    before.mkdir(parents=True)
    (before / "config.yaml").write_text((CONF / "tt_full.yaml").read_text().replace("base: ", f"base: {CONF}/"))
    (before / "model.safetensors").touch()
    alone = "\n".join(line for line in TAUGHT.splitlines() if "tt_full" not in line).replace("[1, 2]", "[1]")
    assert [one.folder.name for one in planned(tmp_path, alone)] == ["student-1"]


def test_a_teacher_beside_another_student_may_teach(tmp_path: Path) -> None:
    text = TAUGHT.replace("name: full, conf: " + str(CONF / "tt_full"), f"name: full, conf: {CONF}/codert")
    text = text.replace('full-{seed}"', 'full-{seed}/teacher", teacher.mode=teacher')
    assert len(planned(tmp_path, text)) == 4


def test_systems_are_chosen_by_name_and_need_what_they_begin_with(tmp_path: Path) -> None:
    text = f"""
title: t
modes: [streaming, full]
systems:
  - {{name: dense_dual, conf: {CONF}/dense_dual.yaml}}
  - {{name: alone, conf: {CONF}/sparse_streaming.yaml}}
  - {{name: once, conf: {CONF}/one_shot.yaml, set: ["init.exp={{runs}}/dense_dual-{{seed}}"]}}
"""
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    whole = load_suite(path)
    runs = plan(path, whole, tmp_path)
    assert [system.name for system in chosen(whole, runs, ["alone", "dense_dual"]).systems] == ["alone", "dense_dual"]
    assert chosen(whole, runs, ["alone"]).modes == ["streaming"]
    with pytest.raises(InputError, match="--systems: no system two; there are dense_dual, alone, once"):
        chosen(whole, runs, ["alone", "two"])
    with pytest.raises(InputError, match=r"once: init\.exp: .*: neither an earlier system of the suite nor a trained"):
        plan(path, chosen(whole, runs, ["once"]), tmp_path)


def test_a_suite_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["--runs", "r", "--train-dir", "t", "--dev-dir", "d", "--test-dirs", "e", "--bpe", "b"]
    assert run(ablate.main, [str(tmp_path / "none.yaml"), *needed]) == 2
    assert capsys.readouterr().err.startswith(f"dualtk: error: {tmp_path}/none.yaml: cannot be read")
    (tmp_path / "suite.yaml").write_text(WHOLE)
    assert run(ablate.main, [str(tmp_path / "suite.yaml"), *needed, "--seeds", "2", "2"]) == 2
    assert capsys.readouterr().err == "dualtk: error: --seeds: 2 is there twice\n"
    assert run(ablate.main, [str(tmp_path / "suite.yaml"), *needed]) == 2
    assert capsys.readouterr().err == "dualtk: error: --train-dir: t: no such directory\n"


def test_every_file_that_is_read_is_looked_for(tmp_path: Path) -> None:
    data, bpe = tmp_path / "test", tmp_path / "lang"
    data.mkdir()
    bpe.mkdir()
    files = [data / name for name in ("feats.scp", "utt2num_frames", "text", "cmvn.ark", "utt2spk")]
    files.append(bpe / "bpe.model")
    for file in files:
        file.touch()
    check_directories(data, data, [data], bpe, times=False)
    with pytest.raises(InputError, match=r"--test-dirs: .*/test: has neither words\.ctm nor wav\.scp"):
        check_directories(data, data, [data], bpe, times=True)
    for file in files:
        file.unlink()
        with pytest.raises(InputError, match=f"--.*{file}: no such file"):
            check_directories(data, data, [data], bpe, times=False)
        file.touch()
    with pytest.raises(InputError, match=f"--test-dirs: {tmp_path}/tset: no such directory"):
        check_directories(data, data, [data, tmp_path / "tset"], bpe, times=False)
