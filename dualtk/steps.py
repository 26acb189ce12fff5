"""Steps that a YAML counts in epochs (`3 epochs`), or in percent of a training (`60 %`), so that it fits any corpus."""

from __future__ import annotations

import re
from typing import Any

from dualtk.yaml_tree import Tree

COUNTED = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>%|epochs?)")
NOMINAL_EPOCH = 1000  # steps, where nothing is known of the data: to look at a configuration


def in_steps(tree: Tree, steps_per_epoch: int = NOMINAL_EPOCH) -> Tree:
    """The values of a configuration with whole numbers of steps in the place of epochs and percentages.

    `train.max_steps` comes first, not below `train.least_steps` where it is counted in epochs; percentages are of it.
    Keys that end in `epoch` or `epochs` get whole numbers of epochs.
    """
    train = tree.get("train")
    train = train if isinstance(train, dict) else {}
    most = train.get("max_steps")
    found = _counted(most)
    if found and found["unit"] != "%":
        least = train.get("least_steps", 0)
        most = max(_steps(found, steps_per_epoch, 0), least if isinstance(least, int) else 0)
        tree = {**tree, "train": {**train, "max_steps": most}}
    result: Tree = _replaced(tree, steps_per_epoch, most if isinstance(most, int) else None)
    return result


def counts_epochs(tree: Any) -> bool:
    """Whether a value is counted in epochs, or an epoch in percent, so that the data decide what it is."""
    if isinstance(tree, dict):
        return any(counts_epochs(one) or (_of_epochs(key) and _counted(one) is not None) for key, one in tree.items())
    if isinstance(tree, list):
        return any(map(counts_epochs, tree))
    found = _counted(tree)
    return found is not None and found["unit"] != "%"


def _counted(value: Any) -> re.Match[str] | None:
    return COUNTED.fullmatch(value) if isinstance(value, str) else None


def _of_epochs(key: str) -> bool:
    return key.endswith(("epoch", "epochs"))


def _replaced(value: Any, steps_per_epoch: int, max_steps: int | None) -> Any:
    if isinstance(value, dict):
        replaced = {key: _replaced(one, steps_per_epoch, max_steps) for key, one in value.items()}
        epochs = {key for key, one in replaced.items() if _of_epochs(key) and one != value[key]}
        return {key: round(one / steps_per_epoch) if key in epochs else one for key, one in replaced.items()}
    if isinstance(value, list):
        return [_replaced(one, steps_per_epoch, max_steps) for one in value]
    found = _counted(value)
    if found is None or (found["unit"] == "%" and max_steps is None):
        return value
    return _steps(found, steps_per_epoch, max_steps or 0)


def _steps(found: re.Match[str], steps_per_epoch: int, max_steps: int) -> int:
    """At least one step, unless none are asked for: no share of a training is less."""
    number = float(found["number"])
    steps = round(number * max_steps / 100 if found["unit"] == "%" else number * steps_per_epoch)
    return max(1, steps) if number else 0
