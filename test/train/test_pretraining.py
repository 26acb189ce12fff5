"""`dualtk train` of a pre-training: no transcripts, chosen by the accuracy, resumed bit for bit, on processes."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from tiny import CONFIG, ROOT, WORDS, write_set
from torch import Tensor
from two_processes import torchrun

from dualtk.bin.train import main
from dualtk.data.kinds import write_options
from dualtk.data.samples import SampleOptions
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.errors import InputError

pytestmark = pytest.mark.slow

PRETRAIN = ROOT / "test/conf/wav2vec_pretrain.yaml"
ENCODER = "{name: wav2vec, dim: 16, num_layers: 2, num_heads: 2, feedforward_dim: 24, dropout: 0.1, channels: 8}"
FINETUNE = [
    "features={kind: samples}",
    f"model.encoder={ENCODER}",
    "model.predictor={name: stateless, dim: 16}",
    "model.joiner.joiner_dim=16",
    "augment=null",
    "batches={max_frames: 200, cache: true}",
    "train={max_steps: 2, save_every: 2, validate_every: 2, log_every: 1}",
]
FIXED = "schedule={name: transformer, lr: 0.003, warmup_steps: 4}"


def write_samples(directory: Path, num_utterances: int, seed: int, spoken: bool = True) -> None:
    """A data directory of noise as raw samples."""
    write_set(directory, num_utterances, seed, dim=SampleOptions().dim, spoken=spoken)
    write_options(directory, SampleOptions())


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories of samples without transcripts."""
    folder = tmp_path_factory.mktemp("waves")
    write_samples(folder / "train", 12, seed=1, spoken=False)
    write_samples(folder / "dev", 4, seed=2, spoken=False)
    return folder


def arguments(corpus: Path, exp: Path, *overrides: str, config: Path = PRETRAIN) -> list[str]:
    options = ["--config", str(config), "--exp", str(exp), "--device", "cpu", "--threads", "1"]
    options += ["--train-dir", str(corpus / "train"), "--dev-dir", str(corpus / "dev")]
    for override in overrides:
        options += ["--set", override]
    return options


def metrics(exp: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture(scope="module")
def pretrained(waves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("pretrained") / "exp"
    assert main(arguments(waves, exp)) == 0
    return exp


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories of samples with transcripts, and wordpieces."""
    folder = tmp_path_factory.mktemp("spoken")
    for name, seed in {"train": 3, "dev": 4}.items():
        write_samples(folder / name, 6, seed=seed)
    write_tokenizer(folder / "lang", [" ".join(WORDS)] * 4, TokenOptions(size=22))
    return folder


def test_the_log_has_the_figures_of_progress_and_the_accuracy_chooses(pretrained: Path) -> None:
    for line in metrics(pretrained, "train"):
        for mode in ("full", "streaming"):
            assert 0.0 <= line[f"{mode}/accuracy"] <= 1.0
            assert 0.0 < line[f"{mode}/contrastive"] < 3 * math.log(6)
        assert 2.0 <= line["perplexity"] <= 16.0
        assert 1.0 <= line["least_perplexity"] <= line["perplexity"] / 2
        assert 0.1 < line["mask_rate"] < 0.6
    valid = metrics(pretrained, "valid")
    for line in valid:
        assert line["choice"] == pytest.approx(1 - (line["full/accuracy"] + line["streaming/accuracy"]) / 2)
        assert line["choice"] != line["loss"]
    # Masks are complete with step 6: of steps 4, 8 and 12 the first is not kept.
    kept = {path.stem for path in (pretrained / "checkpoints").glob("step-*")}
    assert kept == {"step-8", "step-12"}
    log = (pretrained / "train.log").read_text(encoding="utf-8")
    assert all(word in log for word in ("full/accuracy ", "perplexity ", "mask_rate "))
    assert set(json.loads((pretrained / "versions.json").read_text())["inputs"]) == {
        "training features",
        "dev features",
        "cmvn",
    }


def test_stopped_and_continued_equals_uninterrupted(waves: Path, pretrained: Path, tmp_path: Path) -> None:
    """Stopped while the masks of weights grow: they change with steps 2, 4 and 6."""
    parts = tmp_path / "parts"
    with stopped_after(4):
        main(arguments(waves, parts))
    assert main(arguments(waves, parts)) == 0
    states = [torch.load(exp / "checkpoints/last.pt", weights_only=True) for exp in (pretrained, parts)]
    for key, value in states[0]["objective"].items():
        assert torch.equal(value, states[1]["objective"][key]), key
    changing = {"time", "audio_per_second"}
    whole, broken = (
        [{key: value for key, value in line.items() if key not in changing} for line in metrics(exp, "train")]
        for exp in (pretrained, parts)
    )
    assert whole == broken


# Trains, and writes what each process has in the end.
WORKER = """
import os
import sys
import torch
from dualtk.bin.train import main
from dualtk.train.loop import Trainer

def leave(self):
    torch.save(self.stepper.objective.module.state_dict(), f"{sys.argv[1]}/{os.environ['RANK']}.pt")

Trainer.choose_final_weights = leave
sys.exit(main(sys.argv[2:]))
"""


def test_two_processes_train_one_network(waves: Path, tmp_path: Path) -> None:
    """Each draws masks of its own, so that their step is not that of one; their weights and masks stay the same."""
    short = ["train.max_steps=4", "train.validate_every=4", "pruning.schedule.end_step=3"]
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    torchrun(str(tmp_path / "worker.py"), str(tmp_path), *arguments(waves, tmp_path / "exp", *short))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert any(key.endswith("mask_streaming") for key in first)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    log = (tmp_path / "exp/train.log").read_text(encoding="utf-8")
    assert log.count("step 4: valid") == 1
    assert [line["step"] for line in metrics(tmp_path / "exp", "train")] == [1, 2, 3, 4]
    for key, value in load_file(tmp_path / "exp/model.safetensors").items():
        assert bool(np.isfinite(value.float().numpy()).all()), key


def test_the_collapse_of_a_codebook_is_said(waves: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two entries, of which one is always the likeliest: a perplexity of one a group."""
    small = ["pretraining.quantizer={groups: 1, entries: 2, codebook_dim: 4}", "train.max_steps=7"]
    with caplog.at_level(logging.WARNING):
        assert main(arguments(waves, tmp_path / "exp", *small, "train.validate_every=1")) == 0
    assert any("the codebook has collapsed: a group's perplexity is 1." in line for line in caplog.messages)


def test_a_transducer_begins_with_it(spoken: Path, pretrained: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    still = ["schedule={name: transformer, lr: 0.0, warmup_steps: 4}", f"init={{exp: {pretrained}}}", *FINETUNE]
    options = arguments(spoken, exp, *still, config=CONFIG)
    assert main([*options, "--tokens", str(spoken / "lang")]) == 0
    before, after = load_file(pretrained / "model.safetensors"), load_file(exp / "model.safetensors")
    taken = [key for key in after if key.startswith(("encoder.", "feature_"))]
    assert taken
    assert all(torch.equal(after[key], before[key]) for key in taken)
    log, listed = ((exp / name).read_text(encoding="utf-8") for name in ("train.log", "init.txt"))
    assert f"init: {len(taken)} of {len(after)} tensors from {pretrained}\n" in log
    assert "init: not loaded: predictor 4, joiner 6: " in log
    assert {"unused quantizer.codebook", "unused mask_embedding"} < set(listed.splitlines())


def finetuned(spoken: Path, pretrained: Path, exp: Path, *overrides: str) -> dict[str, Tensor]:
    """The last state of a transducer that began with the pre-trained network, with masks of its latent frames."""
    masks = (
        "model.encoder.latent_masks={time_probability: 0.2, time_width: 3, channel_probability: 0.1, channel_width: 2}"
    )
    options = [*FINETUNE, f"init={{exp: {pretrained}}}", masks, *overrides]
    line = [*arguments(spoken, exp, *options, config=CONFIG), "--tokens", str(spoken / "lang")]
    assert main([*line, "--override"] if exp.exists() else line) == 0
    state: dict[str, Tensor] = torch.load(exp / "checkpoints/last.pt", weights_only=True)["objective"]
    return state


def test_masks_of_fine_tuning_begin_with_the_vector_of_pre_training(
    spoken: Path, pretrained: Path, tmp_path: Path
) -> None:
    theirs = load_file(pretrained / "model.safetensors")["mask_embedding"]
    still = "schedule={name: transformer, lr: 0.0, warmup_steps: 4}"
    state = finetuned(spoken, pretrained, tmp_path / "exp", still)
    assert torch.equal(state["network.encoder.latent_masks.embedding"], theirs)
    listed = (tmp_path / "exp/init.txt").read_text(encoding="utf-8")
    assert "loaded encoder.latent_masks.embedding from mask_embedding\n" in listed
    moved = finetuned(spoken, pretrained, tmp_path / "moved")["network.encoder.latent_masks.embedding"]
    assert not torch.equal(moved, theirs)
    again = finetuned(spoken, tmp_path / "moved", tmp_path / "again", still)
    best = load_file(tmp_path / "moved/model.safetensors")["encoder.latent_masks.embedding"]
    assert torch.equal(again["network.encoder.latent_masks.embedding"], best)


def test_masks_of_fine_tuning_resume(spoken: Path, pretrained: Path, tmp_path: Path) -> None:
    whole = finetuned(spoken, pretrained, tmp_path / "whole", FIXED, "train.max_steps=6")
    finetuned(spoken, pretrained, tmp_path / "parts", FIXED, "train.max_steps=3")
    parts = finetuned(spoken, pretrained, tmp_path / "parts", FIXED, "train.max_steps=6")
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert torch.equal(value, parts[key]), key


def test_a_transducer_needs_tokens(waves: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--tokens: a transducer needs the folder that `dualtk tokens` wrote"):
        main(arguments(waves, tmp_path / "exp", config=CONFIG))
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.encoder.name=conformer", r"model\.encoder"),
        ("pretraining.masking.length=0", r"pretraining\.masking\.length: "),
        ("pretraining.quantizer.groups=5", r"pretraining\.quantizer\.codebook_dim: 12 does not divide by 5 groups"),
        ("pretraining.contrast.kappa=0", r"pretraining\.contrast\.kappa: "),
        ("pretraining.temperature.end=3", r"pretraining\.temperature\.end: 3\.0 is above start, 2\.0"),
        ("pruning=null", r"modes\.streaming\.sparsity: there is no section `pruning`"),
        ("features={kind: fbank, num_mels: 80}", r"train: features are samples, features\.kind is fbank|wav2vec"),
    ],
)
def test_faults_are_named(waves: Path, tmp_path: Path, override: str, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        main(arguments(waves, tmp_path / "exp", override))
    assert "\n" not in str(caught.value)
