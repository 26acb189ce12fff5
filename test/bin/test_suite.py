"""Suites of `dualtk ablate`: what they say, the runs that they become, and mistakes before the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from shipped import ROOT, SIZES

from dualtk.bin import ablate
from dualtk.bin.ablation.directories import check_directories
from dualtk.bin.ablation.runs import Run, chosen, plan, streams
from dualtk.bin.ablation.size import SIZE_FILE, sized, write_size
from dualtk.bin.ablation.suite import Budget, fill, find_budget, load_suite
from dualtk.bin.dualtk import run
from dualtk.config import dump
from dualtk.distill.teacher import FrozenTeacherOptions
from dualtk.errors import InputError
from dualtk.system import load
from dualtk.yaml_tree import read_file

CONF = ROOT / "egs/methods"
SIZE = SIZES["cpu-synthetic"]
SUITES = sorted(CONF.glob("suites/*.yaml"))
BUDGETS = [(path, name) for path in SUITES for name in (None, *load_suite(path).budgets)]
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
    return plan(path, load_suite(path), folder / "runs", sized(SIZE, Budget(), ""), changes)


def test_runs_and_seed_are_filled_in() -> None:
    assert fill(["teacher.exp={runs}/full-{seed}", "a=1"], Path("r"), 3) == ["teacher.exp=r/full-3", "a=1"]


def test_each_seed_learns_from_its_own_teacher(tmp_path: Path) -> None:
    runs = planned(tmp_path, TAUGHT, "train.max_steps=7")
    assert [one.folder.name for one in runs] == ["full-1", "student-1", "full-2", "student-2"]
    for one in runs:
        assert (one.system.train.seed, one.system.train.max_steps) == (one.seed, 7)
        if one.entry.name == "student":
            assert isinstance(one.system.teacher, FrozenTeacherOptions)
            assert one.system.teacher.exp == tmp_path / f"runs/full-{one.seed}"


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), BUDGETS, ids=lambda part: getattr(part, "stem", part))
def test_shipped_suites_plan_under_every_budget_that_they_name(path: Path, name: str | None, tmp_path: Path) -> None:
    """A budget is called after the corpus whose size it changes, or after the paper's."""
    suite, corpus = load_suite(path), (name or "fsdd").split("_")[0]
    budget, size = find_budget(path, suite, name), SIZES["paper" if corpus == "paper" else f"cpu-{corpus}"]
    suite = suite.model_copy(update={"seeds": budget.seeds or suite.seeds})
    values = sized(size, budget, "")
    runs = plan(path, suite, tmp_path, values)
    if budget.systems:
        suite = chosen(suite, runs, budget.systems)
        runs = plan(path, suite, tmp_path, values)
        assert [entry.name for entry in suite.systems] == budget.systems
    assert len(suite.systems) > 1
    assert len(runs) == len(suite.systems) * len(suite.seeds)
    assert streams(suite, runs)


def test_a_run_is_repeated_by_the_size_that_was_written(tmp_path: Path) -> None:
    path = CONF / "suites/dual_mode_table4.yaml"
    suite = load_suite(path)
    size = sized(SIZE, suite.budgets["synthetic"], "")
    write_size(tmp_path, size)
    for one in plan(path, suite, tmp_path, size):
        assert dump(load(one.conf, tmp_path / SIZE_FILE, one.overrides)) == dump(one.system)
        assert one.system.sampled_steps == ("all" if one.entry.name == "sampled" else 0)
        assert one.system.train.max_steps == 2500
        assert one.system.batches.cache
        assert [term.start_step for term in one.system.terms.values()] in ([], [1200])
    write_size(tmp_path, size)
    with pytest.raises(InputError, match=r"size\.yaml: the runs there are of another size or budget; choose another"):
        write_size(tmp_path, sized(SIZE, Budget(), ""))


def test_a_budget_is_laid_over_the_size_and_may_drop_a_key(tmp_path: Path) -> None:
    text = WHOLE + "budgets: {short: {augment: null, train: {max_steps: 9}, schedule: {final_step: 9}}}\n"
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    suite = load_suite(path)
    size = sized(SIZE, find_budget(path, suite, "short"), "")
    write_size(tmp_path, size)
    (one,) = plan(path, suite, tmp_path, size)
    assert one.system.augment is None
    assert (one.system.train.max_steps, one.system.schedule.hold_steps) == (9, 5200)
    assert load(one.conf, tmp_path / SIZE_FILE).augment is None  # type: ignore[union-attr]
    assert read_file(SIZE)["train"]["max_steps"] == 8500


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ("{short: {train: {max_steps: 9}}}", "shrot", r"suite\.yaml: budgets: no budget shrot; there are short$"),
        ("{}", "short", r"suite\.yaml: budgets: no budget short$"),
        (
            "{short: {trane: {max_steps: 9}}}",
            "short",
            r"a: .*suite\.yaml: budgets\.short: trane: unknown key$",
        ),
        ("{short: {train: {max_step: 9}}}", "short", r"suite\.yaml: a: .*: train\.max_step: unknown key"),
        ("{short: {blocks: {three_wya: {}}}}", "short", r"budgets\.short: blocks\.three_wya: .*cpu\.yaml has no such"),
        ("{short: {blocks: [three_way]}}", "short", r"suite\.yaml: budgets\.short: blocks: not a mapping"),
        ("{short: {systems: [b]}}", "short", r"suite\.yaml: budgets\.short\.systems: no system b; there are a$"),
        ("{short: {seeds: [1, 1]}}", "short", r"suite\.yaml: budgets\.short\.seeds: 1 is there twice"),
        ("{short: {seeds: []}}", "short", r"suite\.yaml: budgets\.short\.seeds: must have at least one entry"),
    ],
)
def test_mistakes_in_a_budget_show_before_the_first_run(tmp_path: Path, text: str, name: str, line: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(WHOLE + f"budgets: {text}\n")
    options = [str(path), "--size", str(SIZE), "--budget", name, "--runs", str(tmp_path / "runs"), "--tokens", "b"]
    with pytest.raises(InputError, match=line) as fault:
        ablate.main([*options, "--train-dir", "t", "--dev-dir", "d", "--test-dirs", "e"])
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "runs").exists()


def test_a_budget_without_a_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(WHOLE + "budgets: {short: {train: {max_steps: 9}}}\n")
    options = [str(path), "--runs", "r", "--train-dir", "t", "--dev-dir", "d", "--test-dirs", "e", "--tokens", "b"]
    with pytest.raises(InputError, match=r"full_only\.yaml: base: \$size: no size was given; --size names a file"):
        ablate.main(options)
    with pytest.raises(InputError, match="--budget: changes a size, and none was given; --size names a file"):
        ablate.main([*options, "--budget", "short"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not a mapping of sections"),
        ("title: [\n", r"2: not plain YAML"),
        (WHOLE + "sed: 3\n", "sed"),
        (WHOLE + "beam: 0\n", "beam: must be greater than or equal to 1, not 0"),
        (WHOLE.replace("[full]", "[]"), "modes: must have at least one entry"),
        (WHOLE.replace("conf:", "config:"), r"systems\.0\.conf"),
        (WHOLE + f"  - {{name: a, conf: {CONF}/full_only.yaml}}\n", "systems: a is there twice"),
        (WHOLE + "seeds: [3, 1, 3]\n", "seeds: 3 is there twice"),
        (WHOLE.replace("[full]", "[full, full]"), "modes: full is there twice"),
        (WHOLE.replace("[full]", "[full, streeming]"), "modes: no system has the mode streeming; there are full$"),
        (WHOLE.replace("full_only", "fullonly"), r"a: .*fullonly\.yaml: cannot be read"),
        (WHOLE.replace("}", ", set: [modes.full.chunks=3]}"), r"a: .*: modes\.full\.chunks: unknown key$"),
        (
            WHOLE.replace("full_only", "wav2vec_pretrain"),
            "a: .*: pretraining: a network that is pre-trained, not a trans",
        ),
        (WHOLE.replace("}", ", set: ['train.max_steps=-{seed}']}"), r"a: .*: train\.max_steps: .*, not -1$"),
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
    with pytest.raises(InputError, match=r"suite\.yaml: full: .*: terms\.hidden\.student: missing"):
        planned(tmp_path, TAUGHT, "terms.hidden.weight=0.2")


def test_a_student_before_its_teacher_is_refused(tmp_path: Path) -> None:
    lines = TAUGHT.splitlines()
    with pytest.raises(InputError, match=r"student: teacher\.exp: .*/full-1: full has to be trained before"):
        planned(tmp_path, "\n".join([*lines[:-2], lines[-1], lines[-2]]))


def test_a_network_that_was_trained_before_may_teach(tmp_path: Path) -> None:
    before = tmp_path / "runs/full-1"
    before.mkdir(parents=True)
    (before / "config.yaml").write_text(dump(load(CONF / "tt_full.yaml", SIZE)))
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
  - {{name: dense_dual, conf: {CONF}/dual_no_distillation.yaml}}
  - {{name: alone, conf: {CONF}/sparse_streaming.yaml}}
  - {{name: once, conf: {CONF}/one_shot.yaml, set: ["init.exp={{runs}}/dense_dual-{{seed}}"]}}
"""
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    whole = load_suite(path)
    size = sized(SIZE, Budget(), "")
    runs = plan(path, whole, tmp_path, size)
    assert [system.name for system in chosen(whole, runs, ["alone", "dense_dual"]).systems] == ["alone", "dense_dual"]
    assert chosen(whole, runs, ["alone"]).modes == ["streaming"]
    with pytest.raises(InputError, match="--systems: no system two; there are dense_dual, alone, once"):
        chosen(whole, runs, ["alone", "two"])
    with pytest.raises(InputError, match=r"once: init\.exp: .*: neither an earlier system of the suite nor a trained"):
        plan(path, chosen(whole, runs, ["once"]), tmp_path, size)


def test_a_suite_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed = [
        "--runs",
        "r",
        "--train-dir",
        "t",
        "--dev-dir",
        "d",
        "--test-dirs",
        "e",
        "--tokens",
        "b",
        "--size",
        str(SIZE),
    ]
    assert run(ablate.main, [str(tmp_path / "none.yaml"), *needed]) == 2
    assert capsys.readouterr().err.startswith(f"dualtk: error: {tmp_path}/none.yaml: cannot be read")
    (tmp_path / "suite.yaml").write_text(WHOLE)
    assert run(ablate.main, [str(tmp_path / "suite.yaml"), *needed, "--seeds", "2", "2"]) == 2
    assert capsys.readouterr().err == "dualtk: error: --seeds: 2 is there twice\n"
    assert run(ablate.main, [str(tmp_path / "suite.yaml"), *needed]) == 2
    assert capsys.readouterr().err == "dualtk: error: --train-dir: t: no such directory\n"


def test_every_file_that_is_read_is_looked_for(tmp_path: Path) -> None:
    data, tokens = tmp_path / "test", tmp_path / "lang"
    data.mkdir()
    tokens.mkdir()
    files = [data / name for name in ("feats.scp", "utt2num_frames", "text", "cmvn.ark", "utt2spk")]
    files.append(tokens / "bpe.model")
    for file in files:
        file.touch()
    check_directories(data, data, [data], tokens, times=False)
    with pytest.raises(InputError, match=r"--test-dirs: .*/test: has neither words\.ctm nor wav\.scp"):
        check_directories(data, data, [data], tokens, times=True)
    for file in files:
        file.unlink()
        with pytest.raises(InputError, match=f"--.*{file}: no such file"):
            check_directories(data, data, [data], tokens, times=False)
        file.touch()
    with pytest.raises(InputError, match=f"--test-dirs: {tmp_path}/tset: no such directory"):
        check_directories(data, data, [data, tmp_path / "tset"], tokens, times=False)
