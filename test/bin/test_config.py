"""`dualtk config`: values and where they come from, the reference, and names for scripts."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from one_of_each import sections_of_systems
from tiny import CONFIG, ROOT

from dualtk.bin.config import main
from dualtk.errors import InputError
from dualtk.lm_training.options import LanguageModelSystem
from dualtk.reference import Block, markdown, reference
from dualtk.system import EncoderAlone

WAV2VEC = CONFIG.parent / "wav2vec_pretrain.yaml"
PAGE = ROOT / "docs/reference.md"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_show_says_every_value_and_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method, size = tmp_path / "method.yaml", tmp_path / "size.yaml"
    size.write_text(f"base: {CONFIG}\nblocks: {{streaming: {{left_context: 9}}}}\n")
    teacher = "{name: separate, mode: {full_context: true}}"
    method.write_text(f"base: $size\nmodes: {{streaming: {{base: $size.streaming}}}}\nteacher: {teacher}\n")
    lines = printed(capsys, "show", method, "--size", size, "--set", "train.seed=7", "--set", "init.exp=a b")
    rows = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines if line}
    assert rows["train.seed"].split(maxsplit=1) == ["7", "--set train.seed=7"]
    assert rows["init.exp"].split() == ["a", "b", "--set", "init.exp=a", "b"]
    assert rows["modes.streaming.left_context"].split(maxsplit=1) == ["9", f"{size} (blocks.streaming)"]
    assert rows["modes.streaming.chunk"].split(maxsplit=1) == ["4", str(CONFIG)]
    assert rows["teacher.name"].split() == ["separate", str(method)]
    assert rows["teacher.model.encoder.dim"].split(maxsplit=1) == ["112", "as model"]
    assert [part.strip() for part in rows["optimizer.betas"].split("]", 1)] == ["[0.9, 0.98", str(CONFIG)]
    assert rows["train.precision"].split() == ["float32", "default"]
    places = {line.index(row.rsplit("  ", 1)[1]) for line, row in zip(filter(None, lines), rows.values())}
    assert len(places) == 1, "the third column begins at one place"
    assert lines.index("") == 1, "sections stand apart"


def test_show_refuses_what_cannot_be_built() -> None:
    for override, line in {
        "model.encoder.num_heads=5": "num_heads: 5 heads do not divide a dim of 112",
        "model.encoder.kernel=4": "kernel: a dual convolution is symmetric, so its kernel is odd, not 4",
        "tokens.size=2000000000": "model: its parameters alone take .* GB, and this machine has .* GB",
        "model.encoder.subsampling_channels=2000000000": "model: no tensor is so large: ",
        "model.encoder={name: lstm, time_reduction_layer: 7}": "time_reduction_layer: 7 is not between two of 4 layers",
    }.items():
        with pytest.raises(InputError, match=line) as caught:
            main(["show", str(CONFIG), "--set", override])
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_name_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    named = printed(capsys, "name", CONFIG, "--set", "features.num_mels=64", "--set", "tokens={type: bpe, size: 300}")
    assert named == ["transducer fbank64 bpe300 0 full streaming"]  # it caches: no process reads
    sets = ["--directories", "data/train/", "data/../dev", "a b/test"]
    lines = printed(capsys, "name", CONFIG, "--set", "features.speeds=[0.9, 1.0]", *sets)
    assert lines[1:] == ["train_sp", "dev", "test"]
    assert printed(capsys, "name", CONFIG, *sets)[1:] == ["train", "dev", "test"]
    with pytest.raises(InputError, match=r"a/test and b/test have the same name"):
        main(["name", str(CONFIG), "--directories", "train", "dev", "a/test", "b/test/."])
    (line,) = printed(capsys, "name", WAV2VEC)
    task, features, tokens, workers, *modes = line.split(" ")
    assert (task, features[:7], tokens, workers, modes) == ("pretrain", "samples", "-", "0", ["full", "streaming"])
    names = f'"$0" -m dualtk.bin.dualtk config name "{CONFIG}"'
    shell = f'read -r task features tokens workers modes < <({names}); echo "$tokens $task"'
    done = subprocess.run(["bash", "-c", shell, sys.executable], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "unigram500 transducer\n"


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change of options: `dualtk config reference > docs/reference.md`."""
    assert "\n".join(printed(capsys, "reference")) + "\n" == markdown() == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block",
    [*reference(), *reference((LanguageModelSystem,))],
    ids=lambda block: f"{block.path} {block.name}",
)
def test_nothing_is_left_undescribed(block: Block) -> None:
    assert block.meaning
    for key in block.keys:
        assert key.meaning.endswith("."), f"{block.path}.{key.name}: its docstring is not a sentence"
        assert key.type, key.name
        assert key.default, key.name
        if "or null" in key.type and "section" not in key.type:
            assert "null" in key.meaning, f"{block.path}.{key.name}: what does null mean?"


def test_every_section_has_its_block() -> None:
    blocks = {block.meaning for block in reference()}
    for section in sections_of_systems() - {EncoderAlone}:  # of which `model` has the keys and more
        assert inspect.cleandoc(section.__doc__ or "") in blocks, f"{section.__name__} is not in the reference"
    keys = {f"{block.path} {block.name}": [key.name for key in block.keys] for block in reference()}
    assert {"model", "pretraining", "terms", "train"} <= set(keys[" "])
    assert "kernel" in keys["model.encoder name: conformer"]
    assert "temperature" in keys["terms.NAME name: full_kl"]
    assert keys["init.freeze.N "] == ["module", "steps"]


def test_ranges_units_and_defaults_are_said() -> None:
    rows = {f"{one.path} {one.name}".strip() + f" {key.name}": key for one in reference() for key in one.keys}
    chunk = rows["modes.NAME chunk"]
    assert (chunk.type, chunk.default, chunk.range, chunk.unit) == (
        "whole number",
        "`1`",
        "at least 1",
        "encoder frames",
    )
    assert rows["modes.NAME look_ahead_ms"].range == "at least 0, a multiple of 10"
    assert rows[" sampled_steps"].type == "whole number or `all`"
    assert rows["optimizer betas"].range == "at least 0, below 1"
    assert rows["optimizer betas"].type == "a list of 2 numbers"
    assert rows["terms.NAME name: three_way shift"].range == "-16 to 16"
    assert rows["teacher name: shared_decoder encoder"].type == "section, as `model.encoder`"
    assert rows["pretraining.temperature decay"].range == "above 0, at most 1"
    assert rows["init.freeze.N steps"].type == "whole number or null"
    assert rows["schedule name: cosine lr"].default == "`0.002`"
    assert rows["init exp"].default == "required"
