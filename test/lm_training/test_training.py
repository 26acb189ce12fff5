"""`dualtk train-lm` for networks: what it learns, that a stop changes nothing, and what is refused."""

from __future__ import annotations

import json
import math
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualtk.bin import train_lm
from dualtk.bin.dualtk import run
from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer
from dualtk.errors import InputError
from dualtk.lm.folder import read_neural_model
from dualtk.lm_training import loop
from dualtk.lm_training.options import LanguageModelSystem
from dualtk.lm_training.perplexity import model_perplexity, network_perplexity
from dualtk.lm_training.sentences import collect, epoch_batches
from dualtk.search.language_model import read_arpa
from dualtk.tensors import read_safetensors

WORDS = ["BA", "CE", "DI", "GU"]
TINY = {
    "lstm": ["language_model.embedding_dim=8", "language_model.dim=16", "language_model.num_layers=1"],
    "transformer": [
        *("language_model.dim=16", "language_model.num_layers=1", "language_model.num_heads=2"),
        *("language_model.feedforward_dim=16", "language_model.left_context=4"),
    ],
}
TRAIN = ["train.max_epochs=3", "train.max_tokens=200", "train.save_every=2", "train.log_every=1", "schedule.lr=0.02"]
TRAIN += ["schedule.warmup_steps=2"]


def sentences(count: int, seed: int) -> list[str]:
    """Each word is followed by the next one, or by itself one time in four."""
    generator, found = random.Random(seed), []
    for _ in range(count):
        place, words = generator.randrange(4), []
        for _ in range(generator.randint(2, 7)):
            words.append(WORDS[place])
            place = (place + (generator.random() < 0.75)) % 4
        found.append(" ".join(words))
    return found


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_tokenizer(folder / "lang", [" ".join(WORDS)], TokenOptions(type="char", size=20))
    for name, count, seed in (("train", 120, 1), ("dev", 40, 2)):
        lines = [f"u{index:03d} {words}\n" for index, words in enumerate(sentences(count, seed))]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def arguments(text: Path, out: Path, kind: str, *overrides: str) -> list[str]:
    options = ["--type", kind, "--tokens", text / "lang", "--text", text / "train", "--dev", text / "dev", "--out", out]
    options += [one for override in [*TINY[kind], *TRAIN, *overrides] for one in ("--set", override)]
    return [str(one) for one in [*options, "--device", "cpu"]]


def lines(out: Path, kind: str) -> list[dict[str, Any]]:
    read = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in read if line["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_it_learns_more_than_how_often_tokens_are(text: Path, tmp_path: Path, kind: str) -> None:
    """Against the best model without context, and the n-grams that know the text's two words back."""
    assert run(train_lm.main, arguments(text, tmp_path / "lm", kind, "train.max_epochs=12")) == 0
    pieces = Tokenizer(text / "lang").pieces
    model = read_neural_model(tmp_path / "lm", pieces, torch.device("cpu"))
    dev = collect(((len(one.split()), Tokenizer(text / "lang").encode(one)) for one in sentences(40, 2)), 1000)
    found = {"network": model_perplexity(model, dev)}
    for order in (1, 6):
        common = ["--tokens", str(text / "lang"), "--text", str(text / "train")]
        assert run(train_lm.main, [*common, "--order", str(order), "--out", str(tmp_path / "x.arpa")]) == 0
        found[f"{order}-grams"] = model_perplexity(read_arpa(tmp_path / "x.arpa", pieces), dev)
    perplexities = {name: one.of_tokens for name, one in found.items()}
    assert perplexities["network"] < 0.5 * perplexities["1-grams"]
    assert perplexities["network"] < 1.15 * perplexities["6-grams"]
    own = network_perplexity(model.network, dev, 300)
    assert own.log_prob == pytest.approx(found["network"].log_prob, rel=1e-5)
    best = min(line["perplexity"] for line in lines(tmp_path / "lm", "valid"))
    assert own.of_tokens == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_a_run_that_was_stopped_ends_in_the_same_bytes(text: Path, tmp_path: Path, kind: str, monkeypatch) -> None:
    """Stopped by a signal within the first epoch, and killed without a word within the second."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(train_lm.main, arguments(text, whole, kind)) == 0
    take = loop.LanguageModelTrainer._take
    steps = lines(whole, "train")[-1]["step"] // 3
    assert steps > 4

    def interrupted(trainer, *batch) -> None:
        take(trainer, *batch)
        if trainer.standing.step == 3:
            signal.raise_signal(signal.SIGTERM)
        if trainer.standing.step == steps + 3:
            raise KeyboardInterrupt  # without a state of this step

    monkeypatch.setattr(loop.LanguageModelTrainer, "_take", interrupted)
    assert run(train_lm.main, arguments(text, broken, kind)) == 128 + signal.SIGTERM
    assert torch.load(broken / "checkpoints/last.pt", weights_only=True)["step"] == 3
    assert run(train_lm.main, arguments(text, broken, kind)) == 130
    monkeypatch.undo()
    assert run(train_lm.main, arguments(text, broken, kind)) == 0
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [one["loss"] for one in lines(broken, "valid")] == [one["loss"] for one in lines(whole, "valid")]
    assert [one["step"] for one in lines(broken, "train")] == [one["step"] for one in lines(whole, "train")]
    before = (whole / "model.safetensors").stat().st_mtime_ns
    assert run(train_lm.main, arguments(text, whole, kind)) == 0  # there is nothing left to do
    assert (whole / "model.safetensors").stat().st_mtime_ns == before


CHANGES = {
    "lstm": ["embedding_dim=9", "dim=17", "num_layers=2", "dropout=0.4"],
    "transformer": ["dim=20", "num_layers=2", "num_heads=1", "feedforward_dim=20", "left_context=2", "dropout=0.4"],
    "train": ["max_epochs=2", "max_tokens=150", "max_sentence_tokens=6", "clip_norm=0.01", "seed=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_every_option_changes_the_network(text: Path, tmp_path: Path, kind: str) -> None:
    changes = {f"language_model.{one}" for one in CHANGES[kind]} | {f"train.{one}" for one in CHANGES["train"]}
    named = {change.partition("=")[0] for change in changes} | {"train.save_every", "train.log_every"}
    system = LanguageModelSystem.model_validate({"language_model": {"name": kind}})
    fields = {f"language_model.{key}" for key, _ in system.language_model if key != "name"}
    assert named == fields | {f"train.{key}" for key, _ in system.train}
    known: dict[bytes, str] = {}
    for number, change in enumerate(["", *sorted(changes)]):
        out = tmp_path / str(number)
        assert run(train_lm.main, arguments(text, out, kind, *filter(None, [change]))) == 0
        tensors, _ = read_safetensors(out / "model.safetensors")
        content = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
        assert known.setdefault(content, change) == change
    assert len(known) == len(changes) + 1


def test_batches_have_every_sentence_once_and_are_bounded() -> None:
    lengths = np.random.default_rng(0).integers(0, 40, 500)
    epochs = [epoch_batches(lengths, 300, 1, epoch) for epoch in range(3)]
    for batches in epochs:
        assert sorted(np.concatenate(batches).tolist()) == list(range(500))
        assert all(len(batch) * (lengths[batch].max() + 1) <= 300 for batch in batches)
        assert len(batches) == len(epochs[0])
    assert [one.tolist() for one in epochs[0]] != [one.tolist() for one in epochs[1]]
    again = epoch_batches(lengths, 300, 1, 2)
    assert [one.tolist() for one in again] == [one.tolist() for one in epochs[2]]
    assert [len(batch) for batch in epoch_batches(np.array([1000, 2]), 300, 1, 0)] == [1, 1]


def test_long_sentences_are_cut_and_empty_ones_are_ends() -> None:
    found = collect([(3, [1, 2, 3, 4, 5]), (0, []), (1, [6, 7])], 2)
    assert [found[index].tolist() for index in range(len(found))] == [[1, 2], [3, 4], [5], [], [6, 7]]
    assert (found.num_words, found.num_predicted) == (4, 12)
    with pytest.raises(InputError, match="needs text"):
        collect([], 2)


def test_the_perplexity_of_even_probabilities_is_their_number(tmp_path: Path) -> None:
    pieces = ["<blk>", "<unk>", "a", "b", "c"]
    rows = "".join(f"{-math.log10(4):.7f} {word}\n" for word in ("</s>", "a", "b", "c"))
    (tmp_path / "even.arpa").write_text(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{rows}\n\\end\\\n", encoding="utf-8")
    text = collect([(2, [2, 3, 4]), (1, [2]), (1, [])], 100)
    found = model_perplexity(read_arpa(tmp_path / "even.arpa", pieces), text)
    assert found.of_tokens == pytest.approx(4.0, rel=1e-5)
    assert str(found) == f"perplexity 4.00 a token, {4.0:.1f} a word"  # 4 tokens are 4 words here


@pytest.mark.slow
def test_a_model_is_refused_where_it_does_not_belong(text: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "lm"
    assert run(train_lm.main, arguments(text, out, "lstm", "train.max_epochs=1")) == 0
    pieces = Tokenizer(text / "lang").pieces
    with pytest.raises(InputError, match=r"tokens\.txt: token 2 is .*, that of the network x: a model of other tokens"):
        read_neural_model(out, [*pieces[:2], "x", *pieces[3:]], torch.device("cpu"))
    with pytest.raises(InputError, match="a model of other tokens"):
        read_neural_model(out, [*pieces, "more"], torch.device("cpu"))
    content = bytearray((out / "model.safetensors").read_bytes())
    content[-5] ^= 64
    (out / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        read_neural_model(out, pieces, torch.device("cpu"))
    capsys.readouterr()
    held_out = ["--dev-plain", str(text / "dev"), "--max-unknown", "100"]
    for changed, words in (
        (arguments(text, out, "lstm", "train.seed=7"), "holds a run with another configuration"),
        ([*arguments(text, out, "lstm", "train.max_epochs=1"), *held_out], "held-out text chan"),
        (arguments(text, tmp_path, "lstm"), "exists and is no experiment folder"),
        (arguments(text, out, "lstm", "language_model.wide=1"), "language_model.wide"),
        (arguments(text, out, "transformer", "language_model.num_heads=3"), "3 heads do not divide dim 16"),
        ([*arguments(text, out, "lstm"), "--order", "3"], "--order: is for --type ngram"),
        ([*arguments(text, out, "lstm"), "--least", "1"], "--least: is for --type ngram"),
    ):
        assert run(train_lm.main, changed) == 2
        assert words in capsys.readouterr().err
