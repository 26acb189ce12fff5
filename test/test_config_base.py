"""`base: other.yaml`: a method's file says only what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk import config as configuration
from dualtk.errors import InputError

CONF = Path(__file__).resolve().parents[1] / "test/conf"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, whole=(CONF / "dual_conformer.yaml").read_text())


def test_a_file_without_changes_is_its_base(folder: Path) -> None:
    write(folder, same="base: whole.yaml\n")
    assert configuration.load(folder / "same.yaml") == configuration.load(folder / "whole.yaml")


def test_mappings_join_lists_replace_and_null_drops(folder: Path) -> None:
    text = "base: whole.yaml\nmodes: {full: null, streaming: {chunk: 9}}\npasses: [{mode: streaming}]\naugment: null\n"
    write(folder, own=text)
    before, config = configuration.load(folder / "whole.yaml"), configuration.load(folder / "own.yaml")
    assert list(config.modes) == ["streaming"]
    assert config.modes["streaming"].chunk == 9
    assert config.modes["streaming"].left_context == before.modes["streaming"].left_context
    assert [one.weight for one in config.passes] == [1.0]
    assert config.augment is None
    assert config.model == before.model


def test_another_block_replaces_the_whole_section(folder: Path) -> None:
    write(folder, own="base: whole.yaml\nmodel: {encoder: {name: lstm, dim: 24}, joiner: {joiner_dim: 9}}\n")
    config = configuration.load(folder / "own.yaml")
    assert config.model.encoder.name == "lstm"
    assert config.model.joiner.model_dump() == {"name": "tanh", "joiner_dim": 9}


def test_a_base_may_have_a_base_from_its_own_folder(folder: Path) -> None:
    (folder / "below").mkdir()
    write(folder / "below", middle="base: ../whole.yaml\ntrain: {max_steps: 7}\n")
    write(folder, top="base: below/middle.yaml\ntrain: {seed: 3}\n")
    train = configuration.load(folder / "top.yaml").train
    assert (train.max_steps, train.seed) == (7, 3)
    assert "base" not in configuration.dump(configuration.load(folder / "top.yaml"))


def test_faults_name_the_file(folder: Path) -> None:
    write(folder, one="base: two.yaml\n", two="base: one.yaml\n", lost="base: nowhere.yaml\n")
    write(folder, wrong="base: whole.yaml\nmodel: {encoder: {dims: 3}}\n")
    for name, line in (
        ("one", "one.yaml: base: the files name each other"),
        ("lost", "nowhere.yaml: cannot be read"),
        ("wrong", "wrong.yaml: model.encoder.dims: unknown key"),
    ):
        with pytest.raises(InputError, match=line):
            configuration.load(folder / f"{name}.yaml")
