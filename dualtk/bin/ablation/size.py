"""The size of `dualtk ablate`: the file of --size with the suite's budget over it, written where the runs are."""

from __future__ import annotations

from pathlib import Path

from dualtk.bin.ablation.suite import Budget
from dualtk.errors import InputError
from dualtk.files import write_text
from dualtk.yaml_text import to_text
from dualtk.yaml_tree import BLOCKS, Layer, Tree, leaves, merge, read_file, read_layers

SIZE_FILE = "size.yaml"


def sized(path: Path, budget: Budget, source: str) -> Layer:
    """The values of the size in `path`, with those of `budget` over them.

    Args:
        path: of the size.
        budget: what the suite changes in it.
        source: where the budget stands, to lead the message of a fault in it.

    Raises:
        InputError: no size, or a budget for a block that the size does not have.
    """
    tree: Tree = {}
    for layer in read_layers(path):
        tree = merge(tree, layer.tree, keep_null=True)
    blocks, changed = tree.get(BLOCKS) or {}, budget.tree.get(BLOCKS) or {}
    if not isinstance(changed, dict):
        raise InputError(f"{source}: {BLOCKS}: not a mapping")
    for name in changed:
        if name not in blocks:
            raise InputError(f"{source}: {BLOCKS}.{name}: {path} has no such block; it has {', '.join(blocks)}")
    others = {keys: source for keys, _ in leaves(budget.tree)}
    return Layer(str(path), merge(tree, budget.tree, keep_null=True), others)


def write_size(runs: Path, size: Layer) -> None:
    """Write `size` into the folder of all runs, so that each can be repeated by hand.

    Raises:
        InputError: that folder has runs of another size, or under another budget.
    """
    path = runs / SIZE_FILE
    if path.exists() and read_file(path) != size.tree:
        raise InputError(f"{path}: the runs there are of another size or budget; choose another --runs")
    write_text(path, to_text(size.tree))
