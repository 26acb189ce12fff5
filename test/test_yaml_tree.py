"""`base:`, `$size` and `--set`: what is laid over what, and who said it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualtk.config import dump, origins, read_configuration
from dualtk.errors import InputError
from dualtk.system import TransducerSystem, load, parse
from dualtk.yaml_tree import Layer, Layered, Tree, merge, read_layers

CONF = Path(__file__).resolve().parents[1] / "test/conf"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, whole=(CONF / "dual_conformer.yaml").read_text())


def transducer(path: Path, *overrides: str, size: Path | None = None) -> TransducerSystem:
    system = load(path, size, overrides)
    assert isinstance(system, TransducerSystem)
    return system


def tree_of(path: Path, size: Path | None = None) -> Tree:
    return read_configuration(path, size).tree


def refusal(path: Path, size: Path | None = None, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load(path, size, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_without_changes_is_its_base(folder: Path) -> None:
    write(folder, same="base: whole.yaml\n")
    assert load(folder / "same.yaml") == load(folder / "whole.yaml")


def test_mappings_join_and_null_drops(folder: Path) -> None:
    text = "modes: {full: null, streaming: {chunk: 9}}\npasses: {full: null, streaming: {weight: 1.0}}\naugment: null\n"
    write(folder, own=f"base: whole.yaml\n{text}")
    before, system = transducer(folder / "whole.yaml"), transducer(folder / "own.yaml")
    assert list(system.modes) == ["streaming"]
    assert system.modes["streaming"].chunk == 9
    assert system.modes["streaming"].left_context == before.modes["streaming"].left_context
    assert [one.weight for one in system.passes.values()] == [1.0]
    assert system.augment is None
    assert system.model == before.model


def test_lists_replace(folder: Path) -> None:
    write(folder, own="base: whole.yaml\noptimizer: {betas: [0.5, 0.6]}\n")
    assert transducer(folder / "own.yaml").optimizer.betas == (0.5, 0.6)


def test_another_block_replaces_the_whole_section(folder: Path) -> None:
    write(folder, own="base: whole.yaml\nmodel: {encoder: {name: lstm, dim: 24}, joiner: {joiner_dim: 9}}\n")
    model = transducer(folder / "own.yaml").model
    assert model.encoder.name == "lstm"
    assert model.joiner.model_dump() == {"name": "tanh", "joiner_dim": 9}


def test_what_is_changed_stays_where_it_stands(folder: Path) -> None:
    """The passes of a step run, and draw their dropout, in the order of the file."""
    assert list(merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 4}})) == ["a", "b"]
    assert list(merge({"a": 1, "b": 2, "c": 3}, {"b": None, "a": 5, "d": 6})) == ["a", "c", "d"]
    first, *others = transducer(folder / "whole.yaml").passes
    write(folder, own=f"base: whole.yaml\npasses: {{{first}: {{weight: 0.25}}}}\n")
    changed = transducer(folder / "own.yaml").passes
    assert others
    assert list(changed) == [first, *others]
    assert changed[first].weight == 0.25


def test_a_block_that_is_not_named_is_the_one_below() -> None:
    """Only features have a kind where none is said: those of other kinds have other keys."""
    assert merge({"t": {"weight": 2}}, {"t": {"name": "x", "shift": 1}}) == {
        "t": {"weight": 2, "name": "x", "shift": 1}
    }
    assert merge({"f": {"num_mels": 4}}, {"f": {"kind": "samples"}}) == {"f": {"kind": "samples"}}
    assert merge({"f": {"num_mels": 4}}, {"f": {"kind": "fbank"}}) == {"f": {"num_mels": 4, "kind": "fbank"}}
    assert merge({"f": {"kind": "samples"}}, {"f": {"speeds": []}}) == {"f": {"kind": "samples", "speeds": []}}


def test_a_base_may_have_a_base_from_its_own_folder(folder: Path) -> None:
    (folder / "below").mkdir()
    write(folder / "below", middle="base: ../whole.yaml\ntrain: {max_steps: 7}\n")
    write(folder, top="base: below/middle.yaml\ntrain: {seed: 3}\n")
    train = transducer(folder / "top.yaml").train
    assert (train.max_steps, train.seed) == (7, 3)
    assert "base" not in dump(load(folder / "top.yaml"))


def test_later_files_of_a_list_lie_over_earlier_ones(folder: Path) -> None:
    write(folder, a="train: {seed: 3, log_every: 7}\n", b="train: {seed: 4, save_every: 8}\n")
    write(folder, own="base: [whole.yaml, a.yaml, b.yaml]\ntrain: {save_every: 9}\n")
    train = transducer(folder / "own.yaml").train
    assert (train.seed, train.log_every, train.save_every, train.average_best) == (4, 7, 9, 2)


SIZE = """
base: below.yaml
train: {max_steps: 9}
blocks:
  streaming: {left_context: 3}
  large: {name: lstm, dim: 24, num_layers: 3}
  fine: {augment: null, train: {log_every: 2}}
"""
BELOW = """
base: whole.yaml
train: {seed: 5, max_steps: 8}
blocks:
  streaming: {left_context: 1, chunk: 6}
"""


@pytest.fixture
def size(folder: Path) -> Path:
    write(folder, size=SIZE, below=BELOW)
    return folder / "size.yaml"


def test_a_method_takes_its_size(folder: Path, size: Path) -> None:
    write(folder, own="base: [$size, $size.fine]\nmodes: {streaming: {base: $size.streaming, chunk: 7}}\n")
    system = transducer(folder / "own.yaml", size=size)
    assert (system.train.max_steps, system.train.seed, system.train.log_every) == (9, 5, 2)
    assert system.augment is None
    assert (system.modes["streaming"].left_context, system.modes["streaming"].chunk) == (3, 7)


def test_a_block_lies_under_the_section_and_over_nothing_else(folder: Path, size: Path) -> None:
    """A teacher of another name drops what the base says of the teacher, not what its own block says."""
    teacher = "{name: shared_decoder, encoder: {name: lstm, dim: 4}, mode: {chunk: 2}}"
    write(folder, base=f"base: whole.yaml\nteacher: {teacher}\n")
    other = "{name: separate, model: {encoder: {base: $size.large, dim: 12}, predictor: {name: stateless}}, mode: {}}"
    write(folder, own=f"base: base.yaml\nteacher: {other}\n")
    own = tree_of(folder / "own.yaml", size)["teacher"]
    assert own["model"]["encoder"] == {"name": "lstm", "dim": 12, "num_layers": 3}
    assert own["mode"] == {}
    write(folder, named="base: whole.yaml\nmodel: {encoder: {base: $size.large, name: conformer, dim: 8}}\n")
    encoder = tree_of(folder / "named.yaml", size)["model"]["encoder"]
    assert (encoder["name"], encoder["dim"], encoder["num_layers"]) == ("conformer", 8, 6)
    term = "terms: {own: {base: $size.streaming, name: three_way}}"
    write(folder, term=f"base: whole.yaml\n{term}\n")
    assert tree_of(folder / "term.yaml", size)["terms"]["own"] == {"name": "three_way", "left_context": 3, "chunk": 6}


def test_every_value_has_a_place(folder: Path, size: Path) -> None:
    write(folder, own="base: $size\nmodes: {streaming: {base: $size.streaming, chunk: 7}}\n")
    layered = read_configuration(folder / "own.yaml", size, ["model.joiner.joiner_dim=9", "loss.name=exact"])
    found = {".".join(keys): (value, place) for keys, value, place in origins(parse(layered), layered)}
    assert found["modes.streaming.left_context"] == (3, f"{size} (blocks.streaming)")
    assert found["modes.streaming.chunk"] == (7, f"{folder / 'own.yaml'}")
    assert found["train.max_steps"] == (9, f"{size}")
    assert found["train.seed"] == (5, f"{folder / 'below.yaml'}")
    assert found["model.encoder.dim"] == (112, f"{folder / 'whole.yaml'}")
    assert found["model.joiner.joiner_dim"] == (9, "--set model.joiner.joiner_dim=9")
    assert found["loss.name"] == ("exact", "--set loss.name=exact")
    assert found["loss.delay_penalty"] == (0.0, "default")
    assert found["optimizer.betas"] == ([0.9, 0.98], f"{folder / 'whole.yaml'}")


def test_places_of_lists_and_of_what_was_dropped() -> None:
    layered = Layered()
    for layer in (
        Layer("a", {"x": {"y": [{"z": 1}], "v": 1}, "w": {"u": 1}}),
        Layer("b", {"x": {"v": None}, "w": {"u": None}}),
    ):
        layered.lay(layer)
    layered.change("x.y.0.z=2")
    assert layered.tree == {"x": {"y": [{"z": 2}]}, "w": {}}
    assert layered.sources == {("x", "y"): "--set x.y.0.z=2", ("w",): "b"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("base: own.yaml\n", "own.yaml: base: the files name each other"),
        ("base: nowhere.yaml\n", "nowhere.yaml: cannot be read: No such file or directory"),
        ("base: .\n", "not a file"),
        ("base: /dev/zero\n", "/dev/zero: not a file"),
        ("base: pipe.yaml\n", "pipe.yaml: not a file"),
        ("base: loop.yaml\n", "loop.yaml: cannot be read: Too many levels of symbolic links"),
        ("base: latin.yaml\n", "latin.yaml: not UTF-8 text: invalid continuation byte"),
        ("base: list.yaml\n", "list.yaml: not a mapping of sections"),
        (f"base: {'x' * 300}.yaml\n", "cannot be read: File name too long"),
        ("base: 5\n", "own.yaml: base: neither a file nor a list of files"),
        ("base: [whole.yaml, [x]]\n", "own.yaml: base: neither a file nor a list of files"),
        ("base: {a: b}\n", "own.yaml: base: neither a file nor a list of files"),
        ("base: $size.nothing\n", "own.yaml: base: {size} has no block nothing; it has streaming, large, fine"),
        (
            "base: $size\nmodel: {encoder: {base: $size}}\n",
            "own.yaml: model.encoder.base: $size: inside a section it is $size.NAME",
        ),
        (
            "base: $size\nmodel: {encoder: {base: x.yaml}}\n",
            "own.yaml: model.encoder.base: x.yaml: inside a section it is",
        ),
        (
            "base: $size\nmodel: {encoder: {base: [$size.large]}}\n",
            "own.yaml: model.encoder.base: ['$size.large']: inside",
        ),
        ("base: whole.yaml\nmodel: {encoder: {dims: 3}}\n", "own.yaml: model.encoder.dims: unknown key"),
        (
            "base: $size\nmodes: {streaming: {base: $size.large}}\n",
            "size.yaml (blocks.large): modes.streaming.name: unknown key",
        ),
    ],
)
def test_faults_name_the_file(folder: Path, size: Path, text: str, line: str) -> None:
    write(folder, own=text, list="- a\n")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "latin.yaml").write_bytes(b"a: \xe9t\n")
    assert line.format(size=size) in refusal(folder / "own.yaml", size)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("blocks: 5\n", "size.yaml: blocks: not a mapping"),
        ("blocks: {a: [1]}\n", "size.yaml: blocks.a: not a mapping"),
        ("base: $size\n", "size.yaml: base: $size: no size was given"),
        ("blocks: {a: {}, a: {}}\n", "size.yaml: not plain YAML: the key a is there twice"),
    ],
)
def test_faults_of_a_size_name_it(folder: Path, text: str, line: str) -> None:
    write(folder, own="base: [whole.yaml, $size]\n", size=text.strip())
    assert line in refusal(folder / "own.yaml", folder / "size.yaml")
    assert "own.yaml: base: $size: no size was given; --size names a file such as" in refusal(folder / "own.yaml")


def test_files_that_multiply_are_bounded(folder: Path) -> None:
    for index in range(10):
        write(folder, **{f"f{index}": f"base: [{', '.join([f'f{index - 1}.yaml'] * 10)}]\n" if index else "a: 1\n"})
    with pytest.raises(InputError, match=r"base: more than 200 files and blocks are laid over each other"):
        read_layers(folder / "f9.yaml")


def test_another_name_makes_another_block_with_its_defaults() -> None:
    path = CONF / "dual_conformer.yaml"
    encoder = transducer(path, "model.encoder.name=transformer").model.encoder
    assert encoder.model_dump() == type(encoder)(name="transformer").model_dump()
    same = transducer(path, "model.encoder.name=conformer").model.encoder
    assert same == transducer(path).model.encoder
    both = transducer(path, "model.encoder.name=transformer", "model.encoder.dim=24").model.encoder
    assert both.arguments()["dim"] == 24
    features = transducer(path, "features.num_mels=40", "features.kind=fbank").features
    assert features.dim == 40


def test_a_section_that_is_not_there_is_made() -> None:
    system = transducer(
        CONF / "dual_conformer.yaml",
        "init.exp=exp/x",
        "terms.three_way.student=streaming",
        "terms.three_way.teacher=full",
    )
    assert system.init is not None
    assert system.init.exp == Path("exp/x")
    assert [term.name for term in system.terms.values()] == ["three_way"]


def test_null_takes_an_entry_away() -> None:
    path, term = CONF / "dual_conformer.yaml", "terms.three_way={student: streaming, teacher: full}"
    system = transducer(path, term, "terms.three_way=null", "passes.full=null", "augment=null")
    assert (system.terms, list(system.passes), system.augment) == ({}, ["streaming"], None)


def test_places_in_lists_are_numbers() -> None:
    freeze = "init={exp: x, freeze: [{module: a}, {module: b}]}"
    system = transducer(CONF / "dual_conformer.yaml", freeze, "init.freeze.1.module=c", "optimizer.betas.0=0.5")
    assert system.init is not None
    assert [part.module for part in system.init.freeze] == ["a", "c"]
    assert system.optimizer.betas == (0.5, 0.98)
