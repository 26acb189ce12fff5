"""Every field of the loop and of its batches changes what a run does."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
from safetensors.torch import load_file
from tiny import train_arguments, write_set

from dualtk.bin.train import main
from dualtk.data import dataset as dataset_module
from dualtk.data.shards import write_shards
from dualtk.errors import InputError
from dualtk.run_options import RunOptions
from dualtk.train.loop import Trainer
from dualtk.train.stepping import Stepper

pytestmark = pytest.mark.slow

# Of each field another value than that of the tiny run, and what both runs need to differ by it.
CHANGES: dict[str, tuple[str, ...]] = {
    "train.max_steps": ("6",),
    "train.least_steps": ("12", "train.max_steps=1 epoch"),
    "train.accumulate": ("2",),
    "train.clip_norm": ("0.01",),
    "train.precision": ("bfloat16",),
    "train.validate_every": ("3",),
    "train.max_valid_utterances": ("2",),
    "train.save_every": ("5",),
    "train.average_best": ("1",),
    "train.max_bad_steps": ("3", "broken"),
    "train.log_every": ("5",),
    "train.seed": ("2",),
    "train.weight_noise": ("{std: 0.1, start_step: 0}",),
    "batches.shard_window": ("1", "shards"),
    "batches.max_frames": ("100",),
    "batches.max_utterance_frames": ("40",),
    "batches.num_buckets": ("1", "batches.max_frames=60"),  # a bucket holds at least four batches
    "batches.shortest_epochs": ("0",),
    "batches.num_workers": ("1", "batches.cache=false"),
    "batches.cache": ("false",),
}


@dataclass
class Trace:
    """What a run did, in order, and what it left."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    weights: float = 0.0


def run(corpus: Path, exp: Path, *overrides: str) -> Trace:
    """Train, and watch from outside: steps with their utterances, validations, log lines, saves, reads of features."""
    trace = Trace()
    with pytest.MonkeyPatch.context() as patch:

        def watch(owner: Any, name: str, note: Any) -> None:
            original = getattr(owner, name)

            def watched(*arguments: Any, **named: Any) -> Any:
                trace.events.append((name, note(*arguments)))
                return original(*arguments, **named)

            patch.setattr(owner, name, watched)

        for name in ("evaluate", "log", "save"):
            watch(Trainer, name, lambda trainer, *_: trainer.progress.step)
        watch(Trainer, "train", lambda trainer: trainer.train_loader.num_workers)
        watch(Stepper, "take", lambda _, batches, progress: [batch.utterances for batch in batches])
        watch(dataset_module, "read_features", lambda table, name, location: location.rpartition(":")[2])
        try:
            main(train_arguments(corpus, exp, "train.max_steps=8", *overrides))
        except InputError as error:
            trace.events.append(("refused", str(error).replace(str(exp), "")))
            return trace
    trace.left = sorted(path.name for path in (exp / "checkpoints").iterdir())
    trace.weights = float(sum(value.double().sum() for value in load_file(exp / "model.safetensors").values()))
    return trace


Run = Callable[..., Trace]


@pytest.fixture(scope="module")
def train(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with these overrides; "broken": on features that are no numbers; "shards": on those of the corpus in
    shards."""
    broken, shards = tmp_path_factory.mktemp("broken"), tmp_path_factory.mktemp("shards")
    write_set(broken / "train", 6, seed=1)
    shutil.copytree(corpus / "train", shards / "stored")
    names = (shards / "stored/utt2num_frames").read_text().split()[::2]
    (shards / "stored/utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    write_shards(shards / "stored", shards / "train", "stored", hours=0.0005, progress=False)
    for name, folder in itertools.product(("dev", "lang"), (broken, shards)):
        (folder / name).symlink_to(corpus / name)
    scp = broken / "train/feats.scp"
    feats = {name: np.full_like(matrix, np.nan) for name, matrix in kaldiio.load_scp(str(scp)).items()}
    kaldiio.save_ark(str(broken / "train/feats.ark"), feats, scp=str(scp))

    @cache
    def once(*overrides: str) -> Trace:
        kinds = {"broken": broken, "shards": shards}
        own = [one for one in overrides if one not in kinds]
        where = next((kinds[one] for one in overrides if one in kinds), corpus)
        return run(where, tmp_path_factory.mktemp("run") / "exp", *own)

    return once


def test_all_fields_are_here() -> None:
    fields = RunOptions.model_fields
    expected = [f"{name}.{key}" for name in ("train", "batches") for key in fields[name].annotation.model_fields]
    assert sorted(CHANGES) == sorted(expected)


@pytest.mark.parametrize("key", CHANGES)
def test_another_value_is_another_run(key: str, train: Run) -> None:
    value, *context = CHANGES[key]
    assert train(*context, f"{key}={value}") != train(*context)


def test_the_same_values_are_the_same_run(train: Run) -> None:
    """So what differs above differs by the field."""
    assert train("train.max_steps=8") == train()
