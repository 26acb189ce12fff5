"""Configuration: wrong keys are refused by path, YAML cannot run code, every shipped file loads and round-trips."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk import config as configuration
from dualtk.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(ROOT.glob("egs/*/*/conf/*.yaml"))
WAV2VEC = ROOT / "test/conf/wav2vec_pretrain.yaml"
TEXT = (ROOT / "test/conf/dual_conformer.yaml").read_text(encoding="utf-8")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        configuration.parse(text, "x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_files_round_trip(path: Path, tmp_path: Path) -> None:
    config = configuration.load_any(path)
    again = tmp_path / "again.yaml"
    again.write_text(configuration.dump(config))
    assert configuration.load_any(again) == config


def test_unknown_key_is_named_by_its_path() -> None:
    assert refusal(TEXT.replace("num_heads: 4", "num_head: 4")) == "x.yaml: model.encoder.num_head: unknown key"


def test_missing_section_is_named() -> None:
    assert refusal(TEXT.replace("schedule:", "schedules:")).startswith("x.yaml: schedule: missing")


def test_mistyped_value_is_named() -> None:
    message = refusal(TEXT.replace("num_layers: 6", "num_layers: six"))
    assert message.startswith("x.yaml: model.encoder.num_layers:")


def test_unknown_block_names_the_choices() -> None:
    message = refusal(TEXT.replace("name: conformer", "name: zipformer"))
    assert message.startswith("x.yaml: model.encoder:")
    assert "conformer" in message


def test_python_tags_are_refused_and_never_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    message = refusal(f"model: !!python/object/apply:pathlib.Path.touch [{victim}]\n")
    assert message.startswith("x.yaml:1: not plain YAML")
    assert not victim.exists()


def test_pass_in_an_unknown_mode_is_refused() -> None:
    assert "passes.1.mode: causal" in refusal(TEXT.replace("mode: streaming", "mode: causal"))


def test_overrides_are_checked_like_a_file() -> None:
    config = configuration.with_overrides(configuration.parse(TEXT, "x"), ["model.encoder.dim=64", "train.seed=7"])
    assert config.model.encoder.dim == 64
    assert config.train.seed == 7
    with pytest.raises(InputError, match=r"train\.sed: unknown key"):
        configuration.with_overrides(config, ["train.sed=7"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "--set: train.seed: expected key.path=value"),
        ("trains.seed=1", "--set: trains.seed: unknown key"),
        ("passes.7.weight=1", "--set: passes.7.weight: unknown key"),
        ("passes.x=1", "--set: passes.x: unknown key"),
        ("train.seed.deep=1", "--set: train.seed.deep: unknown key"),
        ("train.seed=[1", "--set: train.seed:1: not plain YAML"),
        (
            "passes.1.weight=heavy",
            "--set: passes.1.weight: Input should be a valid number, unable to parse string as a number, not 'heavy'",
        ),
        ("passes.1.weight=-1", "--set: passes.1.weight: Input should be greater than or equal to 0, not -1"),
        ("train.log_every=0", "--set: train.log_every: Input should be greater than or equal to 1, not 0"),
        ("train.clip_norm=.inf", "--set: train.clip_norm: Input should be a finite number, not inf"),
        ("train.max_steps=2.5", "--set: train.max_steps: Input should be a valid integer"),
        ("model.encoder.dropout=1", "--set: model.encoder.dropout: Input should be less than 1, not 1"),
        ("model.encoder.dim=0", "--set: model.encoder.dim: Input should be greater than or equal to 1, not 0"),
        ("passes=[]", "--set: passes: List should have at least 1 item after validation, not 0"),
        ("sampling_steps=5", "--set: sampling_steps: there is no section `sampling`"),
        (
            "sampling={full: 0.5, streaming: 0.4}",
            "--set: sampling: needs one probability for each pass, ['full', 'streaming'], with sum 1, not full 0.5, ",
        ),
        (
            "terms=[{name: three_way, student: full, teacher: full}]",
            "--set: terms.0.teacher: full is the student too",
        ),
        ("optimizer.betas=[0.9, 1.5]", "--set: optimizer.betas.1: Input should be less than 1, not 1.5"),
    ],
)
def test_an_override_at_fault_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        configuration.with_overrides(configuration.parse(TEXT, "x"), [override])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", ["position_kernel", "position_groups"])
def test_what_only_a_convolution_has_needs_one(key: str) -> None:
    config, override = configuration.load_any(WAV2VEC), f"model.encoder.{key}=8"
    changed = configuration.with_overrides(config, ["model.encoder.positions=convolution", override])
    assert changed.model.encoder.arguments()[key] == 8
    with pytest.raises(InputError) as caught:
        configuration.with_overrides(config, [override])
    line = f"--set: model.encoder: {key}: positions: rotary has none; positions: convolution has"
    assert str(caught.value).startswith(line)


def test_what_begins_after_the_last_step_is_said() -> None:
    config = configuration.with_overrides(
        configuration.parse(TEXT, "x"),
        [
            "sampling={full: 0.5, streaming: 0.5}",
            "sampling_steps=90",
            "terms=[{name: three_way, student: streaming, teacher: full, start_step: 99}]",
            "augment={start_step: 100}",
            "train.max_steps=100",
        ],
    )
    assert config.idle() == ["augment.start_step: 100, but train.max_steps is 100"]
    assert configuration.with_overrides(config, ["train.max_steps=50"]).idle() == [
        "terms.0.start_step: 99, but train.max_steps is 50",
        "sampling_steps: 90, but train.max_steps is 50",
        "augment.start_step: 100, but train.max_steps is 50",
    ]


def test_a_mode_may_be_called_like_a_block_and_is_still_named() -> None:
    text = TEXT.replace("  full: {", "  hidden: {").replace("mode: full", "mode: hidden")
    assert "full_context: true" in text
    assert refusal(text.replace("full_context: true", "full_context: 7")).startswith(
        "x.yaml: modes.hidden.full_context:"
    )
