"""Steps counted in epochs and in percent, from a YAML to the folder of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import CONFIG, TINY, train_arguments

from dualtk.bin.dualtk import run
from dualtk.bin.train import main
from dualtk.steps import counts_epochs, in_steps
from dualtk.system import load, load_experiment


def test_epochs_come_first_and_percentages_are_of_them() -> None:
    tree = {
        "train": {"max_steps": "20 epochs", "validate_every": "1 epoch", "seed": 3},
        "schedule": {"hold_steps": "62.5%", "name": "hold"},
        "init": {"freeze": [{"module": "encoder", "steps": "10 %"}]},
        "tokens": {"type": "unigram"},
        "sampled_steps": "all",
    }
    assert counts_epochs(tree)
    assert in_steps(tree, 40) == {
        "train": {"max_steps": 800, "validate_every": 40, "seed": 3},
        "schedule": {"hold_steps": 500, "name": "hold"},
        "init": {"freeze": [{"module": "encoder", "steps": 80}]},
        "tokens": {"type": "unigram"},
        "sampled_steps": "all",
    }


def test_what_begins_with_an_epoch_is_counted_in_epochs() -> None:
    tree = {"train": {"max_steps": 800}, "waveform": {"start_epoch": "25 %"}, "joining": {"start_epoch": "3 epochs"}}
    assert counts_epochs({"waveform": tree["waveform"], "train": tree["train"]})
    counted = in_steps(tree, 40)
    assert (counted["waveform"]["start_epoch"], counted["joining"]["start_epoch"]) == (5, 3)


@pytest.mark.parametrize(("epoch", "steps"), [(2, 500), (40, 800)])
def test_a_small_corpus_has_the_least_steps(epoch: int, steps: int) -> None:
    tree = in_steps({"train": {"max_steps": "20 epochs", "least_steps": 500}, "sampled_steps": "50 %"}, epoch)
    assert (tree["train"]["max_steps"], tree["sampled_steps"]) == (steps, steps // 2)


def test_numbers_stay_as_they_are() -> None:
    tree = {"train": {"max_steps": 7, "validate_every": 2}, "augment": None}
    assert not counts_epochs(tree)
    assert in_steps(tree) == tree


def test_percentages_need_no_epoch() -> None:
    system = load(CONFIG, overrides=[*TINY, "train.max_steps=300", "augment.start_step=25 %"])
    assert system.starts()["augment.start_step"] == 75


def test_what_is_no_number_of_steps_is_named(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, train_arguments(corpus, tmp_path / "exp", "train.max_steps=3 hours")) == 2
    assert "train.max_steps: must be a whole number, not '3 hours'" in capsys.readouterr().err
    assert not (tmp_path / "exp").exists()


@pytest.mark.slow
def test_a_training_counts_the_batches_of_its_corpus(corpus: Path, tmp_path: Path) -> None:
    """Twice as large batches, half as many steps; and the folder holds the steps."""
    steps = []
    for frames in (200, 400):
        exp = tmp_path / f"exp{frames}"
        options = ["train.max_steps=2 epochs", "train.validate_every=50 %", "train.save_every=50 %"]
        options += [f"batches.max_frames={frames}", "batches.num_buckets=1"]
        assert main(train_arguments(corpus, exp, *options)) == 0
        train = load_experiment(exp).train
        assert train.validate_every == train.max_steps // 2
        lines = (exp / "metrics.jsonl").read_text().splitlines()
        assert f'"step": {train.max_steps},' in lines[-1] or f'"step": {train.max_steps}' in lines[-1]
        steps.append(train.max_steps)
    assert steps[1] <= 0.7 * steps[0]
