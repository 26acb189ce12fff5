"""Model folders: they load as the experiment does, anywhere, and refuse what was altered."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from small_experiment import write_experiment
from small_networks import speech

import dualtk
from dualtk.bin import pack
from dualtk.bin.dualtk import run
from dualtk.checksums import FILE
from dualtk.package import Card, card_text
from dualtk.score.summary import SetScore
from dualtk.trained import load

SAMPLES = speech(30000, 1).numpy()


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny", "modes.streaming.left_context=8")


@pytest.fixture(scope="module")
def packed(exp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    options = ["--language", "de", "--license", "apache-2.0", "--data", "3 h of noise"]
    assert run(pack.main, [str(exp), str(folder), *options]) == 0
    return folder


def texts(folder: Path, modes: tuple[str, ...] = ("streaming", "full", "two-pass")) -> list[str]:
    recognizer = dualtk.load(folder)
    return [recognizer.transcribe(SAMPLES, mode, rate=16000).text for mode in modes]


@pytest.mark.slow
def test_it_gives_the_same_text_from_elsewhere_without_permission_to_write(exp, packed, tmp_path) -> None:
    expected = texts(exp)
    assert all(expected)
    folder = tmp_path / "moved"
    shutil.copytree(packed, folder)
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert texts(folder) == expected
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_everyone_may_read_it(packed) -> None:
    for path in [packed, *packed.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_sha256sum_checks_it(packed) -> None:
    done = subprocess.run(["sha256sum", "-c", FILE], cwd=packed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert names == {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()} - {FILE}


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "lang/bpe.model", "fbank.json", "README.md"])
@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
def test_a_file_that_was_altered_is_named(packed, tmp_path, name: str, how: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(packed, folder)
    content = (folder / name).read_bytes()
    if how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if how == "altered" else b""))
    with pytest.raises(dualtk.InputError, match=name) as error:
        dualtk.load(folder)
    assert "\n" not in str(error.value)


def test_a_file_of_sums_that_is_none(packed, tmp_path) -> None:
    shutil.copytree(packed, tmp_path / "model")
    (tmp_path / "model" / FILE).write_text("no sums\n")
    with pytest.raises(dualtk.InputError, match=f"{FILE}:1"):
        dualtk.load(tmp_path / "model")


def test_the_card_is_what_hubs_read(packed) -> None:
    text = (packed / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["language"], front["license"], front["library_name"]) == ("de", "apache-2.0", "dualtk")
    assert front["pipeline_tag"] == "automatic-speech-recognition"
    assert "3 h of noise" in text
    assert "--mode two-pass" in text


def wer(rate: float) -> dict[str, dict[str, float]]:
    return {"rate": {"value": rate, "low": rate, "high": rate}}


def test_the_card_is_what_the_client_of_a_hub_reads(exp, tmp_path) -> None:
    """huggingface_hub makes results of the model index; a Norwegian model is none of the language `false`."""
    facts = {"full_context": True, "search": {"name": "beam", "beam": 4, "lm": "lm.arpa", "lm_weight": 0.3}}
    rates = {"streaming": 0.0812, "full": 0.05}
    scores = [
        SetScore(tmp_path, "test-set 1: a", mode, {"decoding": facts, "wer": wer(rate), "emission_latency": None})
        for mode, rate in rates.items()
    ]
    text = card_text("my model", load(exp), list(rates), "float32", Card("no", "other", "3 h", scores))
    card = huggingface_hub.ModelCard(text)
    assert card.data.language == "no"
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("other", "dualtk", "my model")
    found = [(one.dataset_name, one.metric_type, one.metric_value, one.metric_name) for one in card.data.eval_results]
    assert found == [
        ("test-set 1: a", "wer", 8.12, "WER streaming, beam 4, lm 0.3"),
        ("test-set 1: a", "wer", 5.0, "WER full, beam 4, lm 0.3"),
    ]


@pytest.mark.slow
def test_eight_bits_are_smaller(exp, packed, tmp_path) -> None:
    assert run(pack.main, [str(exp), str(tmp_path / "small"), "--precision", "int8"]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (packed, tmp_path / "small")]
    assert sizes[1] < sizes[0]
    assert all(texts(tmp_path / "small"))


def test_some_modes_only(exp, packed, tmp_path) -> None:
    assert run(pack.main, [str(exp), str(tmp_path / "full"), "--modes", "full"]) == 0
    assert texts(tmp_path / "full", ("full",)) == texts(exp, ("full",))
    with pytest.raises(dualtk.InputError, match="has no mode streaming"):
        texts(tmp_path / "full")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (packed, tmp_path / "full")]
    assert sizes[1] < sizes[0]


def test_what_cannot_be_packed(exp, packed, tmp_path, capsys) -> None:
    before = sorted(packed.rglob("*"))
    assert run(pack.main, [str(exp), str(packed)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert sorted(packed.rglob("*")) == before
    assert run(pack.main, [str(exp), str(tmp_path / "x"), "--modes", "fast"]) == 2
    assert "has no mode fast" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
