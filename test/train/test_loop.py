"""The loop: losses fall, what is not finite is named and skipped, many processes equal one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import ROOT, train_arguments, write_set
from two_processes import assert_two_equal_one

from dualtk.bin.train import main
from dualtk.errors import InputError
from dualtk.system import TransducerSystem, load_experiment
from dualtk.train import loop
from dualtk.train.checkpoint import load_network, load_training
from dualtk.train.evaluation import evaluate

pytestmark = pytest.mark.slow


def metrics(exp: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_the_folder_tells_what_the_run_was_and_losses_fall(corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    overrides = [
        "train.max_steps=40",
        "schedule={name: cosine, lr: 0.01, warmup_steps: 2}",
        "train.validate_every=20",
    ]
    assert main(train_arguments(corpus, exp, *overrides)) == 0
    for name in ("config.yaml", "command", "versions.json", "train.log", "metrics.jsonl", "model.safetensors"):
        assert (exp / name).stat().st_size > 0, name
    facts = json.loads((exp / "versions.json").read_text())
    assert facts["backend"]
    assert set(facts["inputs"]) == {"training features", "dev features", "text", "dev text", "cmvn", "tokens"}
    valid = metrics(exp, "valid")
    assert valid[-1]["full/simple"] < 0.8 * valid[0]["full/simple"] or valid[-1]["loss"] < valid[0]["loss"]
    train = metrics(exp, "train")
    assert train[-1]["streaming/simple"] < 0.7 * train[0]["streaming/simple"]
    assert len(list((exp / "checkpoints").glob("step-*.safetensors"))) == 2
    assert list((exp / "tensorboard").iterdir())


def test_a_loss_that_is_not_finite_skips_the_step_and_names_the_utterances(corpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "corpus"
    write_set(broken / "train", 6, seed=1)
    (broken / "dev").symlink_to(corpus / "dev")
    (broken / "lang").symlink_to(corpus / "lang")
    feats = dict(kaldiio.load_scp(str(broken / "train/feats.scp")).items())
    feats = {name: matrix.copy() for name, matrix in feats.items()}
    feats["spk-1-003"][5, 2] = np.nan
    kaldiio.save_ark(str(broken / "train/feats.ark"), feats, scp=str(broken / "train/feats.scp"))
    exp = tmp_path / "exp"
    plain = ["augment=null"]  # a mask may cover the fault
    assert main(train_arguments(broken, exp, *plain, "batches.max_frames=120", "train.max_steps=4")) == 0
    log = (exp / "train.log").read_text(encoding="utf-8")
    assert "step skipped; utterances: spk-1-003\n" in log
    for key, value in load_file(exp / "model.safetensors").items():
        assert bool(np.isfinite(value.float().numpy()).all()), key
    with pytest.raises(InputError, match=r"3 steps in a row without a finite loss; .*spk-1-003"):
        main(train_arguments(broken, tmp_path / "all", *plain, "batches.max_frames=10000", "train.max_bad_steps=3"))


def test_features_of_another_dimension_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"feats\.scp: features have 16 dimensions, those of the configuration 80"):
        main(train_arguments(corpus, tmp_path / "exp", "features.num_mels=80"))


def test_a_number_of_threads_that_makes_no_sense(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*train_arguments(corpus, tmp_path / "exp"), "--threads", "-1"])
    assert "train: error: argument --threads: -1: expected a whole number of at least 0" in capsys.readouterr().err


def test_two_processes_equal_one(corpus: Path, tmp_path: Path) -> None:
    """Two gloo processes with half of each batch each take the steps that one process takes with the whole.

    Layer norms only: batch statistics of half a batch are not those of the whole. The first steps draw a pass, the
    others run both.
    """
    shared = [
        "model.encoder.convolution_norm=layer",
        "model.encoder.dropout=0.0",
        "model.predictor={name: stateless, dim: 16}",
        "augment=null",
        "sampled_steps=3",
        "train.max_steps=6",
        "terms.three_way={student: streaming, teacher: full, weight: 0.0}",
        "optimizer={name: adam, eps: 0.001, weight_decay: 0.0}",
    ]
    assert_two_equal_one(corpus, tmp_path, *shared)


LSTM = "{name: lstm, dim: 12, num_layers: 1, dropout: 0.0, stacking: 4, time_reduction: 1}"


@pytest.mark.parametrize("change", [-1e6, 1e6, float("nan")], ids=["better", "worse", "not a number"])
def test_a_teacher_that_learns_is_chosen_and_averaged_like_the_student(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: float
) -> None:
    """The average of the two best steps is left where validation finds it better than the best alone."""
    calls = []

    def changed(*arguments: Any) -> dict[str, float]:
        calls.append(evaluate(*arguments))
        last = len(calls) == 4  # after the validations of steps 4, 8 and 12
        return {key: value + change for key, value in calls[-1].items()} if last else calls[-1]

    monkeypatch.setattr(loop, "evaluate", changed)
    exp, conf = tmp_path / "exp", tmp_path / "codert.yaml"
    conf.write_text(
        f"base: {ROOT / 'test/conf/dual_conformer.yaml'}\n"
        "modes: {full: null, streaming: {chunk: 1}}\npasses: {full: null, streaming: {weight: 1.0}}\n"
        f"teacher: {{name: shared_decoder, encoder: {LSTM}, mode: {{}}}}\n"
        "terms: {three_way: {student: streaming, teacher: teacher, weight: 2.0}}\n"
    )
    assert main(train_arguments(corpus, exp, "train.average_best=2", config=conf)) == 0
    valid = metrics(exp, "valid")
    assert [line["choice"] for line in valid] == [line["streaming/rnnt"] for line in valid]
    assert any(line["loss"] != line["choice"] for line in valid)
    assert len(calls) == 4
    kept = sorted((line["choice"], int(line["step"])) for line in valid)[:2]
    for folder in (exp, exp / "teacher"):
        files = [folder / f"checkpoints/step-{step}.safetensors" for _, step in kept]
        first, second = map(load_file, files)
        for key, value in load_file(folder / "model.safetensors").items():
            expected = (first[key].double() + second[key].double()) / 2 if change < 0 else first[key].double()
            np.testing.assert_allclose(value.double().numpy(), expected.numpy(), atol=1e-6, err_msg=key)
    last = load_training(exp / "checkpoints/last.pt", torch.device("cpu"))["objective"]
    for key, value in load_file(exp / "checkpoints/step-12.safetensors").items():
        assert np.array_equal(last[f"network.{key}"], value), key  # not the average, which was only tried
    ours, theirs = load_file(exp / "model.safetensors"), load_file(exp / "teacher/model.safetensors")
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours if key.startswith("predictor."))
    alone = load_experiment(exp / "teacher")
    assert isinstance(alone, TransducerSystem)
    assert list(alone.modes) == ["teacher"]
    network = alone.build_network(26, theirs["feature_mean"], theirs["feature_istd"])
    load_network(exp / "teacher/model.safetensors", network)
    assert (exp / "teacher/lang/bpe.model").exists()


@pytest.mark.parametrize("loss", ["{name: exact}", "{name: pruned, prune_range: 3, warmup_steps: 4}"])
def test_a_co_learned_teacher_that_shares_nothing_leaves_the_students_run_bit_identical(
    corpus: Path, tmp_path: Path, loss: str
) -> None:
    """Dropout, masks and a clip that scales down every step; the term has lambda 0 and is measured in validation."""
    conf = tmp_path / "student.yaml"
    conf.write_text(
        f"base: {ROOT / 'test/conf/dual_conformer.yaml'}\n"
        "modes: {full: null}\npasses: {full: null, streaming: {weight: 1.0}}\naugment: {start_step: 2}\n"
    )
    student = [f"loss={loss}", "train.clip_norm=0.1"]
    teacher = ["teacher={name: separate, weight: 3.0, mode: {full_context: true}}"]
    teacher += ["terms.hidden={student: streaming, teacher: teacher, weight: 0.0}"]
    for name, overrides in (("alone", student), ("beside", student + teacher)):
        assert main(train_arguments(corpus, tmp_path / name, *overrides, config=conf)) == 0
    alone, beside = (metrics(tmp_path / name, "train") for name in ("alone", "beside"))
    for key in ("streaming/rnnt", "gradient_norm"):
        assert [line[key] for line in alone] == [line[key] for line in beside]
    assert all(line["gradient_norm"] > 0.1 < line["teacher/gradient_norm"] for line in beside)
    assert all(line["streaming/hidden"] > 0 for line in metrics(tmp_path / "beside", "valid"))
    expected = load_file(tmp_path / "alone/model.safetensors")
    for key, value in load_file(tmp_path / "beside/model.safetensors").items():
        assert torch.equal(value, expected[key]), key


def test_a_cached_teacher_trains_the_same_student(corpus: Path, tmp_path: Path) -> None:
    """Without dropout and masks; utterances come back in other batches, so up to rounding."""
    assert main(train_arguments(corpus, tmp_path / "tt", "train.max_steps=2", "train.validate_every=2")) == 0
    conf = tmp_path / "student.yaml"
    conf.write_text(
        f"base: {ROOT / 'test/conf/dual_conformer.yaml'}\n"
        "modes: {full: null}\npasses: {full: null, streaming: {weight: 1.0}}\naugment: null\n"
        f"teacher: {{name: frozen, exp: {tmp_path / 'tt'}, mode: full}}\n"
        "terms: {hidden: {student: streaming, teacher: teacher, weight: 0.1}}\n"
    )
    plain = ["batches.max_frames=300", "optimizer.eps=0.001"]
    for name, cache in (("computed", "false"), ("cached", "true")):
        arguments = train_arguments(corpus, tmp_path / name, *plain, f"teacher.cache={cache}", config=conf)
        assert main(arguments) == 0
    assert len(list((tmp_path / "cached/teacher").rglob("*.safetensors"))) == 24 + 6
    assert not (tmp_path / "computed/teacher").exists()
    expected = load_file(tmp_path / "computed/model.safetensors")
    for key, value in load_file(tmp_path / "cached/model.safetensors").items():
        np.testing.assert_allclose(value.float().numpy(), expected[key].float().numpy(), atol=1e-4, err_msg=key)
