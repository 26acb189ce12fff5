"""Configuration: wrong keys and values are refused by who says them and their path; what is written is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.config import dump, laid
from dualtk.errors import InputError
from dualtk.options import LARGEST
from dualtk.system import TransducerSystem, load, load_experiment, parse
from dualtk.yaml_tree import parse_tree

ROOT = Path(__file__).resolve().parent.parent
DUAL = ROOT / "test/conf/dual_conformer.yaml"
WAV2VEC = ROOT / "test/conf/wav2vec_pretrain.yaml"
TEXT = DUAL.read_text(encoding="utf-8")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(laid(parse_tree(text, "x.yaml"), "x.yaml"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load(path, overrides=overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", [DUAL, WAV2VEC], ids=lambda path: path.name)
def test_what_is_written_is_read_again(path: Path, tmp_path: Path) -> None:
    system = load(path)
    (tmp_path / "config.yaml").write_text(dump(system), encoding="utf-8")
    assert load(tmp_path / "config.yaml") == system
    assert load_experiment(tmp_path) == system


def test_unknown_key_is_named_by_its_path() -> None:
    assert refusal(TEXT.replace("num_heads: 4", "num_head: 4")) == "x.yaml: model.encoder.num_head: unknown key"


def test_missing_section_is_named() -> None:
    assert refusal(TEXT.replace("schedule:", "schedules:")).startswith("x.yaml: schedule: missing")


def test_mistyped_value_is_named() -> None:
    message = refusal(TEXT.replace("num_layers: 6", "num_layers: six"))
    assert message == "x.yaml: model.encoder.num_layers: must be a whole number, not 'six'"


def test_unknown_block_names_the_choices() -> None:
    message = refusal(TEXT.replace("name: conformer", "name: zipformer"))
    assert message == (
        "x.yaml: model.encoder.name: must be one of conformer, contextnet, lstm, transformer, wav2vec, not 'zipformer'"
    )


def test_pass_in_an_unknown_mode_is_refused() -> None:
    text = TEXT.replace("streaming: {weight", "causal: {weight")
    assert refusal(text) == "x.yaml: passes.causal: is none of the modes: full, streaming"


def test_overrides_are_checked_like_a_file() -> None:
    system = load(DUAL, overrides=["model.encoder.dim=64", "train.seed=7"])
    assert isinstance(system, TransducerSystem)
    assert system.model.encoder.arguments()["dim"] == 64
    assert system.train.seed == 7


THREE_WAY = "{name: three_way, student: streaming, teacher: full"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "expected key.path=value"),
        ("=5", "expected key.path=value"),
        ("train..seed=1", "expected key.path=value"),
        ("train.sed=7", "train.sed: unknown key"),
        ("trains.seed=1", "trains: unknown key"),
        ("passes.full.7=1", "passes.full.7: unknown key"),
        ("passes.x={}", "passes.x: is none of the modes: full, streaming"),
        ("passes.x=1", "passes.x: must be a section, with keys of its own, not 1"),
        ("passes=[]", "passes: must be a section, with keys of its own, not a list"),
        ("passes={}", "passes: must have at least one entry"),
        ("modes={}", "modes: must have at least one entry"),
        ("model.encoder.dim.deep=1", "model.encoder.dim is 112, which has no deep"),
        ("optimizer.betas.7=1", "optimizer.betas is a list of 2, which has no 7; the first is 0"),
        ("optimizer.betas.x=1", "optimizer.betas is a list of 2, which has no x; the first is 0"),
        ("optimizer.betas=[0.9]", "optimizer.betas.1: missing"),
        ("optimizer.betas=[0.9, 1.5]", "optimizer.betas.1: must be less than 1, not 1.5"),
        ("train.seed=[1", "not plain YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("train=5", "train: must be a section, with keys of its own, not 5"),
        ("train=null", "train: must be a section, with keys of its own, not null"),
        ("train.seed=", "train.seed: must be a whole number, not null"),
        ("train.seed={a: 1}", "train.seed: must be a whole number, not a mapping"),
        ("train.seed=true", "train.seed: true is neither a number nor text"),
        ("train.seed=-1", "train.seed: must be greater than or equal to 0, not -1"),
        (f"train.seed={LARGEST + 1}", f"train.seed: whole numbers are at most {LARGEST}, not {LARGEST + 1}"),
        ("train.seed=1e30", "train.seed: must be a whole number, not 1e+30"),
        (f"train.seed={'9' * 99}", "not plain YAML: a number of 99 digits"),
        ("passes.streaming.weight=heavy", "passes.streaming.weight: must be a number, not 'heavy'"),
        ("passes.streaming.weight=-1", "passes.streaming.weight: must be greater than or equal to 0, not -1"),
        ("train.log_every=0", "train.log_every: must be greater than 0, not 0"),
        ("train.clip_norm=.inf", "train.clip_norm: must be a finite number, not inf"),
        ("train.clip_norm=.nan", "train.clip_norm: must be a finite number, not nan"),
        ("train.max_steps=2.5", "train.max_steps: must be a whole number, not 2.5"),
        ("model.encoder.dropout=1", "model.encoder.dropout: must be less than 1, not 1"),
        ("model.encoder.dim=0", "model.encoder.dim: must be greater than 0, not 0"),
        ("model.encoder.num_layers=1001", "model.encoder.num_layers: must be less than or equal to 1000, not 1001"),
        ("model.encoder=[conformer]", "model.encoder: must be a section, with keys of its own, not a list"),
        ("model.encoder={dim: 8}", "model.encoder.name: missing"),
        ("modes.streaming.chunk=0", "modes.streaming.chunk: must be greater than 0, not 0"),
        ("modes.streaming.look_ahead_ms=15", "modes.streaming.look_ahead_ms: must be a multiple of 10, not 15"),
        ("modes.full.chunk=3", "modes.full.chunk: a full-context mode has none"),
        ("sampled_steps=some", "sampled_steps: must be a whole number or must be 'all', not 'some'"),
        ("features.kind=mfcc", "features.kind: must be one of fbank, samples, not 'mfcc'"),
        ("init={freeze: []}", "init.exp: missing"),
        ("init.exp=5", "init.exp: must be text, not 5"),
        (
            "pruning={pattern: 4:2}",
            "pruning.pattern: '4:2' is not unstructured, blocks such as 8x1, or N:M such as '2:4'",
        ),
        ("schedule.peak=0.1", "schedule.peak: unknown key"),
        (
            f"train.precision={'x' * 90}",
            f"train.precision: must be 'float32', 'bfloat16' or 'float16', not '{'x' * 39}...",
        ),
        ("terms.three_way={student: full, teacher: full}", "terms.three_way.teacher: full is the student too"),
        ("terms.three_way={student: full}", "terms.three_way.teacher: missing"),
        (f"terms.own={THREE_WAY}, shift: 99}}", "terms.own.shift: must be less than or equal to 16, not 99"),
        (
            "terms.own={student: full}",
            "terms.own.name: must be one of ctc_consistency, encoder_logits, full_kl, heads, hidden, three_way, ",
        ),
        ("terms=[{name: three_way}]", "terms: must be a section, with keys of its own, not a list"),
        ("pruning={}", "pruning: no mode is sparse"),
        ("pruning.schedule={start_step: 9, end_step: 3}", "pruning.schedule.end_step: 3 is not after start_step, 9"),
        ("format=1", "format: must be 2, not 1"),
    ],
)
def test_an_override_at_fault_is_named(override: str, message: str) -> None:
    assert refused(DUAL, override).startswith(f"--set {override}: {message}")


def test_the_override_that_is_named_is_the_one_at_fault() -> None:
    overrides = ["train.seed=7", "modes.streaming.chunk=0", "model.encoder.dim=8"]
    assert refused(DUAL, *overrides) == (
        "--set modes.streaming.chunk=0: modes.streaming.chunk: must be greater than 0, not 0"
    )
    assert refused(WAV2VEC, "train.seed=7", "pretraining.quantizer.groups=5").startswith(
        "--set pretraining.quantizer.groups=5: pretraining.quantizer.codebook_dim: 12 does not divide by 5 groups"
    )


@pytest.mark.parametrize("key", ["position_kernel", "position_groups"])
def test_what_only_a_convolution_has_needs_one(key: str) -> None:
    override = f"model.encoder.{key}=8"
    changed = load(WAV2VEC, overrides=["model.encoder.positions=convolution", override])
    assert changed.model.encoder.arguments()[key] == 8
    line = f"--set {override}: model.encoder.{key}: positions: rotary has none; positions: convolution has"
    assert refused(WAV2VEC, override) == line


def test_what_begins_after_the_last_step_is_said() -> None:
    overrides = [
        "sampled_steps=90",
        "terms.three_way={student: streaming, teacher: full, start_step: 99}",
        "augment={start_step: 100}",
    ]
    system = load(DUAL, overrides=[*overrides, "train.max_steps=100"])
    assert system.unreached() == ["augment.start_step: 100, but train.max_steps is 100"]
    assert sorted(load(DUAL, overrides=[*overrides, "train.max_steps=50"]).unreached()) == [
        "augment.start_step: 100, but train.max_steps is 50",
        "sampled_steps: 90, but train.max_steps is 50",
        "terms.three_way.start_step: 99, but train.max_steps is 50",
    ]


def test_a_mode_may_be_called_like_a_block_and_is_still_named() -> None:
    text = TEXT.replace("  full: {", "  hidden: {").replace("passes: {full", "passes: {hidden")
    assert "full_context: true" in text
    assert refusal(text.replace("full_context: true", "full_context: 7")) == (
        "x.yaml: modes.hidden.full_context: must be true or false, not 7"
    )
