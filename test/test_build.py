"""Every shipped YAML builds, and every field of it reaches something that was built."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from dualtk import config as configuration
from dualtk.build import build_network, build_objective
from dualtk.config import BatchesConfig, Config, TrainConfig
from dualtk.train.optim import build_optimizer, build_schedule

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(ROOT.glob("egs/*/*/conf/*.yaml"))
STEPS = (0, 3, 50, 700, 5000, 60000)


def build(config: Config) -> Any:
    with torch.device("meta"):
        mean, istd = torch.zeros(config.features.num_mels), torch.ones(config.features.num_mels)
        return build_objective(config, build_network(config, 64, mean, istd))


def attributes(thing: object, seen: dict[int, object]) -> Iterator[object]:
    """Every plain value that an object and what it owns hold."""
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # kept alive, so that no other object takes its id
    if isinstance(thing, torch.Tensor):
        yield tuple(thing.shape)
    elif isinstance(thing, (str, int, float, bool, type(None))):
        yield thing
    elif isinstance(thing, (types.FunctionType, types.MethodType, types.ModuleType, type)):
        return
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield key if isinstance(key, str) else str(type(key))
            yield from attributes(value, seen)
    elif isinstance(thing, (list, tuple, set)):
        for value in thing:
            yield from attributes(value, seen)
    elif hasattr(thing, "__dict__"):
        yield type(thing).__name__
        yield from attributes(vars(thing), seen)


def fingerprint(config: Config) -> list[object]:
    """What was built, as a list of plain values that differs when anything in it does."""
    objective = build(config)
    optimizer = build_optimizer(config.optimizer, objective.named_parameters())
    schedule = build_schedule(config.schedule, config.train.max_steps)
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return [
        repr(objective),
        repr(list(attributes(objective, {}))),
        type(optimizer).__name__,
        repr(groups),
        [schedule(step) for step in STEPS],
    ]


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}.{index}")
    else:
        yield path, tree


def changed(path: str, value: Any) -> list[str]:
    """Overrides that change one leaf to another value that is valid in the shipped configurations."""
    last = path.rpartition(".")[2]
    other: dict[str, str] = {
        "convolution_norm": "layer" if value == "batch" else "batch",
        "positions": "none" if value != "none" else "rotary",
        "activation": "tanh" if value == "identity" else "identity",
        "betas": "[0.8, 0.97]",
        "num_heads": "2" if value != 2 else "4",
        "subsampling_factor": "8" if value == 4 else "4",
        "left_context": "7",
        "time_width": "9",
        "time_rate": "0.04",
        "projection_dim": "24",
    }
    if last in other:
        return [f"{path}={other[last]}"]
    if isinstance(value, bool):
        return [f"{path}={str(not value).lower()}"]
    if isinstance(value, (int, float)):
        return [f"{path}={value + 8 if isinstance(value, int) else value * 0.5 + 1e-4}"]
    return []


NAMES = {"name", "mode", "student", "teacher", "full_context"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_field_matters(path: Path) -> None:
    config = configuration.load(path)
    before = fingerprint(config)
    checked = 0
    for key, value in leaves(config.model_dump(mode="json")):
        section, last = key.split(".")[0], key.rpartition(".")[2]
        if section in ("train", "batches") or last in NAMES or (key.startswith("modes.full.")):
            continue  # the loop's own values are covered below; names are covered by the tests of config
        overrides = changed(key, value)
        if not overrides:
            assert value in (None, {}, []), f"{key}: the test does not know how to change {value!r}"
            continue
        assert fingerprint(configuration.with_overrides(config, overrides)) != before, f"{key} reaches nothing"
        checked += 1
    assert checked > 25


@pytest.mark.parametrize(("section", "files"), [(TrainConfig, "train/loop.py"), (BatchesConfig, "bin/train.py")])
def test_every_field_of_the_loop_is_read(section: type[BaseModel], files: str) -> None:
    source = (ROOT / "dualtk" / files).read_text() + (ROOT / "dualtk/bin/train.py").read_text()
    source += (ROOT / "dualtk/build.py").read_text()
    for name in section.model_fields:
        assert re.search(rf"(section|train|batches)\.{name}\b", source), f"{section.__name__}.{name} is read nowhere"
