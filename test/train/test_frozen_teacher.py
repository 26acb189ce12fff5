"""A run that learns from a frozen teacher: which one is part of what the run is made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from tiny import ROOT, WORDS, train_arguments

from dualtk.bin.train import main
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.errors import InputError
from dualtk.train.checkpoint import save_network

pytestmark = pytest.mark.slow

CONF = ROOT / "test/conf/dual_conformer.yaml"


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of two steps."""
    exp = tmp_path_factory.mktemp("trained") / "tt"
    assert main(train_arguments(corpus, exp, "train.max_steps=2", "train.validate_every=2")) == 0
    return exp


@pytest.fixture
def teacher(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "tt"))


@pytest.fixture
def student(tmp_path: Path, teacher: Path) -> Path:
    """A configuration that learns from `teacher`."""
    conf = tmp_path / "student.yaml"
    conf.write_text(
        f"base: {CONF}\n"
        "modes: {full: null}\npasses: {full: null, streaming: {weight: 1.0}}\naugment: null\n"
        f"teacher: {{name: frozen, exp: {teacher}, mode: full}}\n"
        "terms: {hidden: {student: streaming, teacher: teacher, weight: 0.1}}\n"
    )
    return conf


def disturb(teacher: Path) -> None:
    """Replace the network, keeping its statistics."""
    tensors = load_file(teacher / "model.safetensors")
    save_network(
        teacher / "model.safetensors",
        {key: value if key.startswith("feature_") else value * 2 for key, value in tensors.items()},
    )


def test_another_teacher_is_refused_like_other_data(corpus: Path, tmp_path: Path, teacher: Path, student: Path) -> None:
    exp = tmp_path / "exp"
    arguments = train_arguments(corpus, exp, "teacher.cache=true", config=student)
    with stopped_after(4):
        main(arguments)
    inputs = json.loads((exp / "versions.json").read_text())["inputs"]
    assert {"teacher.exp/model.safetensors", "teacher.exp/config.yaml"} < set(inputs)
    folders = set((exp / "teacher").iterdir())
    disturb(teacher)
    with pytest.raises(InputError, match=r"exp: teacher\.exp/model\.safetensors changed since this run began"):
        main(arguments)
    assert set((exp / "teacher").iterdir()) == folders
    assert main([*arguments, "--override"]) == 0
    assert len(set((exp / "teacher").iterdir())) == 2


def test_another_configuration_of_the_teacher_is_refused(
    corpus: Path, tmp_path: Path, teacher: Path, student: Path
) -> None:
    arguments = train_arguments(corpus, tmp_path / "exp", config=student)
    with stopped_after(2):
        main(arguments)
    with (teacher / "config.yaml").open("a") as stream:
        stream.write("# another\n")
    with pytest.raises(InputError, match=r"teacher\.exp/config\.yaml changed since this run began"):
        main(arguments)


def test_a_run_goes_on_with_the_teacher_that_was_read(
    corpus: Path, tmp_path: Path, teacher: Path, student: Path
) -> None:
    """Its weights are not in the training state; those that an older state holds do not count."""
    assert main(train_arguments(corpus, tmp_path / "whole", config=student)) == 0
    whole = (tmp_path / "whole/model.safetensors").read_bytes()
    for name, older in (("resumed", False), ("older", True)):
        arguments = train_arguments(corpus, tmp_path / name, config=student)
        with stopped_after(6):
            main(arguments)
        path = tmp_path / name / "checkpoints/last.pt"
        state = torch.load(path, weights_only=True)
        assert not any(key.startswith("teacher.") for key in state["objective"])
        if older:
            kept = load_file(teacher / "model.safetensors")
            scale = {key: torch.zeros(16) for key in ("teacher.scale", "teacher.offset")}
            held = {f"teacher.network.{key}": torch.zeros_like(value) for key, value in kept.items()}
            torch.save({**state, "objective": {**state["objective"], **held, **scale}}, path)
        assert main(arguments) == 0
        assert (tmp_path / name / "model.safetensors").read_bytes() == whole


def test_a_state_of_another_network_is_still_refused(
    corpus: Path, tmp_path: Path, teacher: Path, student: Path
) -> None:
    arguments = train_arguments(corpus, tmp_path / "exp", config=student)
    with stopped_after(2):
        main(arguments)
    path = tmp_path / "exp/checkpoints/last.pt"
    state = torch.load(path, weights_only=True)
    del state["objective"]["network.feature_mean"]
    torch.save(state, path)
    with pytest.raises(InputError, match="made with another configuration"):
        main(arguments)


def test_a_teacher_of_other_tokens_is_refused(corpus: Path, tmp_path: Path, teacher: Path, student: Path) -> None:
    """As many, but others: the first that differs is named."""
    arguments = train_arguments(corpus, tmp_path / "exp", config=student)
    lang = teacher / "lang"
    lines = (lang / "tokens.txt").read_text(encoding="utf-8").splitlines()
    versions = lang.parent / "versions.json"
    shutil.rmtree(lang)
    write_tokenizer(
        lang,
        ["INDIA JULIETT KILO LIMA MIKE NOVEMBER OSCAR PAPA QUEBEC ROMEO", *WORDS[:4]],
        TokenOptions(size=len(lines)),
    )
    others = (lang / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert len(others) == len(lines)
    first = next(index for index, pair in enumerate(zip(lines, others, strict=True)) if pair[0] != pair[1])
    own, other = (line.split(" ")[0] for line in (lines[first], others[first]))
    expected = f"teacher.exp: token {first} is {other} in {lang}/bpe.model, {own} in {corpus}/lang/bpe.model"
    with pytest.raises(InputError, match=r"lang/bpe\.model: is not the one that .*tt was trained with, by "):
        main(arguments)
    versions.unlink()
    with pytest.raises(InputError) as caught:
        main(arguments)
    assert str(caught.value) == expected
    (lang / "bpe.model").unlink()
    with pytest.raises(InputError, match=r"tt/lang/bpe\.model: cannot be read: "):
        main([*train_arguments(corpus, tmp_path / "again", config=student)])
