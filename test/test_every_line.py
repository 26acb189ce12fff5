"""Every line of the shipped YAMLs reaches something that is built; `test_field_traces` has every field."""

from __future__ import annotations

import hashlib
import types
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from building import build, change, frozen_teacher, taught_by
from shipped import METHODS, ROOT, SHIPPED, SIZES, load_shipped

from dualtk.config import plain_values, read_configuration
from dualtk.errors import InputError
from dualtk.system import System, TransducerSystem
from dualtk.train.freezing import Freezing
from dualtk.yaml_tree import leaves as values_of
from dualtk.yaml_tree import read_layers

pytestmark = pytest.mark.slow

VOCABULARY = 20
Shipped = tuple[str, ...]  # method, size, overrides
REFUSED = {("supernet_omni", "sampled_steps")}  # lines whose change a rule refuses: beside a sandwich nothing is drawn
OF_FREQUENCIES = {"augment.frequency_warp", "augment.channel", "augment.num_frequency_masks"}
STEPS = (3, 50, *range(0, 20_000, 500), 60_000)

# Read elsewhere than in what is built: test/train/test_loop_fields.py has the loop, test/data the others.
ELSEWHERE = ("train.", "batches.", "tokens.", "features.", "waveform.", "joining.")
# What names a block, a pass or a folder; a wrong one is refused.
NAMES = {"kind", "name", "student", "teacher", "full_context", "exp", "mode", "format"}


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


def fingerprint(system: System, taught: TransducerSystem | None) -> str:
    """Of what is built: another one when anything in it differs."""
    objective = build(system, frozen_teacher(system, taught))
    optimizer = system.optimizer.build(objective.named_parameters())
    schedule = system.schedule.build(system.train.max_steps)
    freezing = Freezing(objective.network, [] if system.init is None else system.init.freeze)
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    built = [
        repr(objective),
        list(attributes(objective, {})),
        type(optimizer).__name__,
        groups,
        [schedule(step) for step in STEPS],
        list(freezing.steps.values()),
    ]
    return hashlib.sha256(repr(built).encode()).hexdigest()


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree by their paths; lists of mappings are part of the tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}.{index}")
    else:
        yield path, tree


OTHER = {
    "activation": ("tanh", "identity"),
    "backend": ("torch",),
    "betas": ("[0.8, 0.97]",),
    "convolution_norm": ("layer", "batch"),
    "distance": ("cosine", "l2"),
    "extractor_norm": ("group",),
    "groups": ("1", "2"),
    "kernels": ("[12, 3, 3, 3, 3, 2, 2]",),
    "left_context": ("7",),
    "module": ("encoder.projection",),
    "num_heads": ("2", "4"),
    "pattern": ("4x1", "8x1"),
    "positions": ("none", "rotary"),
    "projection_dim": ("24",),
    "reduction": ("sum", "mean"),
    "sampled_steps": ("7",),
    "scope": ("global", "layer"),
    "shape": ("linear", "constant"),
    "sparsity": ("0.4",),
    "strided_blocks": ("[3, 7]",),
    "strides": ("[5, 2, 2, 2, 2, 2, 1]",),
    "subsampling_factor": ("8", "4"),
    "steps": ("7",),
    "time_rate": ("0.04",),
    "time_reduction_layer": ("1",),
    "time_width": ("9",),
    "top_k": ("3",),
    "weight_decay": ("0.07",),
}


def changed(path: str, value: Any) -> list[str]:
    """Overrides that change one leaf to another valid value; none where the test does not know one."""
    last = path.rpartition(".")[2]
    if last == "subsampling":
        return [f"{path}=convolution", f"{path}_factor=4"] if value == "stacking" else [f"{path}=stacking"]
    if last in OTHER:
        other = next(one for one in OTHER[last] if one != str(value))
        return [f"{path}={other}"]
    if isinstance(value, bool):
        return [f"{path}={str(not value).lower()}"]
    if last.endswith("_ms"):
        return [f"{path}={value + 20}"]
    if isinstance(value, (int, float)):
        return [f"{path}={value + 8 if isinstance(value, int) else value * 0.5 + 1.3e-4}"]
    return []


def shallow(system: System) -> list[str]:
    """Overrides that leave two layers of each encoder (what a field reaches, it reaches in the first), and a training
    that is long enough for masks to begin later than at once."""
    keys = [key for key, _ in leaves(plain_values(system)) if ".encoder." in f".{key}"]
    layers = [f"{key}=2" for key in keys if key.endswith("encoder.num_layers")]
    layers += [f"{key}=1" for key in keys if key.endswith("layers_per_block")]
    return layers if system.train.max_steps else [*layers, "train.max_steps=100000"]


class Prepared:
    """A shipped method with two layers, and so its teacher."""

    def __init__(self, method: str, size: str, *overrides: str) -> None:
        system = load_shipped(method, size, *overrides)
        taught = taught_by(system, size)
        self.system = change(system, *shallow(system))
        self.taught = None if taught is None else change(taught, *shallow(taught))
        self.values = dict(leaves(plain_values(self.system)))
        self.before = fingerprint(self.system, self.taught)

    def reaches(self, path: str) -> bool:
        """Whether another value of `path` builds something else; what a block refuses has reached it."""
        if path not in self.values:
            inside = [one for one, value in self.values.items() if one.startswith(f"{path}.") and value is not None]
            return bool(inside) and all(map(self.reaches, inside))
        overrides = changed(path, self.values[path])
        if not overrides:
            assert self.values[path] in (None, {}, []), f"{path}: how to change {self.values[path]!r} is not known here"
            return False
        try:
            other = change(self.system, *overrides)
        except InputError:
            return False  # not in this system: another key of it does not allow the change
        try:
            return fingerprint(other, self.taught) != self.before
        except InputError:
            return True


load_once = cache(load_shipped)
prepare = cache(Prepared)


def left_out(path: str, system: System) -> bool:
    """Whether what `path` does is not to be seen in what is built."""
    if path.rpartition(".")[2] in NAMES or (path.startswith(ELSEWHERE) and path != "features.num_mels"):
        return True
    if path == "teacher.cache":
        return True  # refused beside the shipped augmentation; test/distill/test_output_cache.py has it
    return system.features.kind == "samples" and path in OF_FREQUENCIES  # refused; test/data/test_samples.py has it


@cache
def lines() -> dict[str, dict[str, list[Shipped]]]:
    """Of each file and block, the paths that it gives a value, and the shipped systems in which this value counts."""
    found: dict[str, dict[str, list[Shipped]]] = defaultdict(lambda: defaultdict(list))
    for method, size in SHIPPED:
        values = dict(leaves(plain_values(load_once(method, size))))
        for layer in read_layers(METHODS[method], SIZES[size]):
            for keys, value in values_of(layer.tree):
                path, source = ".".join(keys), layer.others.get(keys, layer.source)
                if value is None and keys[-1] in OTHER and values.get(path, 0) is None:
                    found[source][path].append((method, size))
                elif value not in (None, {}):  # which say that there is a section, or none
                    found[source][path] += []
        for keys, source in read_configuration(METHODS[method], SIZES[size]).sources.items():
            if ".".join(keys) in found[source]:
                found[source][".".join(keys)].append((method, size))
    return found


@pytest.mark.parametrize("file", [*METHODS.values(), *SIZES.values()], ids=lambda file: str(file.relative_to(ROOT)))
def test_every_line_matters(file: Path) -> None:
    """In some shipped system that reads the file."""
    dead = []
    for source in [source for source in lines() if source.partition(" (")[0] == str(file)]:
        for path, systems in lines()[source].items():
            if path.rpartition(".")[2] in NAMES or (file.stem, path) in REFUSED:
                continue
            if not any(left_out(path, load_once(*one)) or prepare(*one).reaches(path) for one in systems):
                dead.append(f"{source}: {path}")
    assert not dead
