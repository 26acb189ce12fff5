"""Every shipped YAML builds, and every field of it reaches something that was built."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel

from dualtk import config as configuration
from dualtk.build import build_network, build_objective
from dualtk.build_pretraining import build_pretraining, build_pretraining_network
from dualtk.config import (
    BatchesConfig,
    Config,
    FrozenTeacherConfig,
    PretrainConfig,
    RunConfig,
    SamplesConfig,
    TrainConfig,
)
from dualtk.errors import InputError
from dualtk.train.checkpoint import save_network
from dualtk.train.freezing import Freezing
from dualtk.train.optim import build_optimizer, build_schedule

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(ROOT.glob("egs/*/*/conf/*.yaml"))
STEPS = (3, 50, *range(0, 12_000, 500), 60_000)


def build(config: RunConfig) -> Any:
    with torch.device("meta"):
        mean, istd = (torch.full((config.features.dim,), value, device="cpu") for value in (0.0, 1.0))
        if isinstance(config, PretrainConfig):
            return build_pretraining(config, build_pretraining_network(config, mean, istd))
        assert isinstance(config, Config)
        return build_objective(config, build_network(config, 64, mean, istd))


def attributes(thing: object, seen: dict[int, object]) -> Iterator[object]:
    """Every plain value that an object and what it owns hold."""
    if isinstance(thing, (str, int, float, bool, type(None))):
        yield thing
        return
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # kept alive, so that no other object takes its id
    if isinstance(thing, torch.Tensor):
        yield tuple(thing.shape)
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


def fingerprint(config: RunConfig) -> list[object]:
    """What was built, as a list of plain values that differs when anything in it does."""
    objective = build(config)
    optimizer = build_optimizer(config.optimizer, objective.named_parameters())
    schedule = build_schedule(config.schedule, config.train.max_steps)
    freezing = Freezing(objective.network, config.init.freeze if config.init is not None else [])
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return [
        repr(objective),
        repr(list(attributes(objective, {}))),
        type(optimizer).__name__,
        repr(groups),
        [schedule(step) for step in STEPS],
        list(freezing.steps.values()),
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


def changed(path: str, value: Any, config: RunConfig) -> list[str]:
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
        "reduction": "sum" if value == "mean" else "mean",
        "distance": "cosine" if value != "cosine" else "l2",
        "subsampling": "convolution" if value == "stacking" else "stacking",
        "strided_blocks": "[3, 7]",
        "time_reduction_layer": "1",
        "pattern": "4x1" if value != "4x1" else "8x1",
        "scope": "global" if value != "global" else "layer",
        "shape": "linear" if value != "linear" else "constant",
        "sparsity": "0.4",
        "kernels": "[12, 3, 3, 3, 3, 2, 2]",
        "strides": "[5, 2, 2, 2, 2, 2, 1]",
        "norms": "after" if value == "before" else "before",
        "extractor_norm": "group" if value == "layer" else "layer",
        "module": "encoder.projection",
    }
    if path.startswith("sampling."):
        assert isinstance(config, Config)
        names = list(config.sampling or ())
        rest = 0.9 / (len(names) - 1)
        return [f"sampling={{{', '.join(f'{name}: {0.1 if path.endswith(name) else rest}' for name in names)}}}"]
    if value == "stacking":
        return [f"{path}=convolution", f"{path}_factor=4"]
    if last in other:
        return [f"{path}={other[last]}"]
    if isinstance(value, bool):
        return [f"{path}={str(not value).lower()}"]
    if isinstance(value, (int, float)):
        return [f"{path}={value + 8 if isinstance(value, int) else value * 0.5 + 1.3e-4}"]
    return []


OF_FREQUENCIES = {"augment.frequency_warp", "augment.channel", "augment.num_frequency_masks"}
NAMES = {"kind", "name", "mode", "student", "teacher", "full_context", "exp"}


def own_leaves(path: Path, config: RunConfig) -> list[tuple[str, Any]]:
    """The leaves of a file's configuration; of a file that is based on another, those that the other has otherwise."""
    found = list(leaves(config.model_dump(mode="json")))
    base = yaml.safe_load(path.read_text()).get("base")
    if base is None:
        return found
    below = dict(leaves(configuration.load_any(path.parent / base).model_dump(mode="json")))
    return [(key, value) for key, value in found if key not in below or below[key] != value]


def with_teacher(
    config: Config | PretrainConfig, conf: Path, folder: Path, overrides: Sequence[str] = ()
) -> Config | PretrainConfig:
    """`config`, with `overrides` of it and of its frozen teacher: an untrained experiment in `folder`, as its own YAML
    describes it otherwise."""
    config = configuration.with_overrides(config, list(overrides))
    if isinstance(config, PretrainConfig) or not isinstance(config.teacher, FrozenTeacherConfig):
        return config
    name = config.teacher.exp.name
    teacher = configuration.with_overrides(configuration.load(conf.parent / f"{name}.yaml"), list(overrides))
    mean = torch.zeros(teacher.features.dim)
    (folder / name).mkdir(parents=True)
    (folder / name / "config.yaml").write_text(configuration.dump(teacher))
    save_network(folder / name / "model.safetensors", build_network(teacher, 64, mean, mean + 1).state_dict())
    return configuration.with_overrides(config, [f"teacher.exp={folder / name}"])


def shallow(config: RunConfig) -> list[str]:
    """Overrides that leave two layers of each encoder; what a field reaches, it reaches in the first."""
    keys = [key for key, _ in leaves(config.model_dump(mode="json")) if ".encoder." in f".{key}"]
    layers = [f"{key}=2" for key in keys if key.endswith("encoder.num_layers")]
    return layers + [f"{key}=1" for key in keys if key.endswith("layers_per_block")]


def reaches(config: RunConfig, before: list[object]) -> bool:
    """Whether `config` builds something else than `before`; what a block refuses has reached it."""
    try:
        return fingerprint(config) != before
    except InputError:
        return True


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_every_field_matters(path: Path, tmp_path: Path) -> None:
    config = configuration.load_any(path)
    build(with_teacher(config, path, tmp_path / "whole"))
    own = own_leaves(path, config)
    trained = [] if config.train.max_steps else ["train.max_steps=100000"]  # where masks may begin later than at once
    config = with_teacher(config, path, tmp_path / "shallow", [*shallow(config), *trained])
    before = fingerprint(config)
    for key, value in own:
        section, last = key.split(".")[0], key.rpartition(".")[2]
        if section in ("train", "batches") or last in NAMES or key.startswith("modes.full."):
            continue  # the loop's own values are covered below; names are covered by the tests of config
        if key == "teacher.cache":
            continue  # refused beside the shipped augmentation; test/distill/test_output_cache.py covers it
        if isinstance(config.features, SamplesConfig) and key in OF_FREQUENCIES:
            continue  # refused; test/data/test_samples.py covers it
        overrides = changed(key, value, config)
        if not overrides:
            assert value in (None, {}, []), f"{key}: the test does not know how to change {value!r}"
            continue
        assert reaches(configuration.with_overrides(config, overrides), before), f"{key} reaches nothing"
    assert own or yaml.safe_load(path.read_text()).keys() == {"base"}, "changes nothing of its base"


@pytest.mark.parametrize("section", [TrainConfig, BatchesConfig])
def test_every_field_of_the_loop_is_read(section: type[BaseModel]) -> None:
    readers = [*(ROOT / "dualtk/train").glob("*.py"), ROOT / "dualtk/bin/train.py", ROOT / "dualtk/build.py"]
    source = "".join(path.read_text() for path in readers)
    for name in section.model_fields:
        assert re.search(rf"(section|train|batches)\.{name}\b", source), f"{section.__name__}.{name} is read nowhere"
