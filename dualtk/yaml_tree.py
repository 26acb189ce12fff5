"""YAML files as trees of plain values: reading them, and laying one over the files that it is based on.

A file may begin with `base:`, a file or a list of files, later ones over earlier ones, and itself over all. A method
does not know how large its network is to be: it is based on `$size`, the file that the user gives as the size. Of that
file's section `blocks`, `base: $size.NAME` takes the block NAME, at the top of the file or inside any section.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualtk.errors import InputError
from dualtk.faults import Keys as Keys
from dualtk.faults import Tree as Tree
from dualtk.yaml_text import LONGEST_TEXT, plain

# Keys that say which block a mapping describes, and which block it is where they are missing.
TAGS = {"name": None, "kind": "fbank"}
BASE = "base"
SIZE = "$size"
BLOCKS = "blocks"
MOST_LAYERS = 200


@dataclass(frozen=True)
class Layer:
    """Values, and where they stand.

    Attributes:
        source: what to call the place.
        tree: the values; null takes away what lower layers say.
        others: of values that stand elsewhere, by their keys: what to call that place.
    """

    source: str
    tree: Tree
    others: dict[Keys, str] = field(default_factory=dict)


def parse_tree(text: str, source: str) -> Tree:
    """The mapping of sections that YAML `text` is."""
    tree = plain(text, source)
    if not isinstance(tree, dict):
        raise InputError(f"{source}: not a mapping of sections")
    return tree


def read_file(path: Path) -> Tree:
    """The mapping of sections of one file, as it stands there.

    Raises:
        InputError: it is no regular file, or no YAML.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file")
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read(LONGEST_TEXT + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}") from error
    return parse_tree(text, str(path))


class Layered:
    """Trees laid over each other, and where each value of the result came from.

    Attributes:
        tree: the result.
        sources: by the keys of each value: what says it.
        order: all sources, the lowest first.
    """

    def __init__(self) -> None:
        self.tree: Tree = {}
        self.sources: dict[Keys, str] = {}
        self.order: list[str] = []

    def lay(self, layer: Layer) -> None:
        """Put a tree over all others."""
        new = {keys: layer.others.get(keys, layer.source) for keys, _ in leaves(layer.tree)}
        self._replace(merge(self.tree, layer.tree), layer.source, new)

    def change(self, override: str) -> None:
        """Change one value, or a section, by `key.path=value`; see `set_value`."""
        source = f"--set {override}"
        changed = copied(self.tree)
        keys = set_value(changed, override, source)
        self._replace(changed, source, {one: source for one, _ in leaves(changed) if _related(one, keys)})

    def with_values(self, tree: Tree) -> Layered:
        """The same places, for values that follow from what they say."""
        result = Layered()
        result.tree, result.sources, result.order = tree, self.sources, self.order
        return result

    def said(self, keys: Sequence[str]) -> str | None:
        """What says the value at `keys`, or something in the section there last; None where nothing does."""
        found = {source for one, source in self.sources.items() if _related(one, tuple(keys))}
        return max(found, key=self.order.index) if found else None

    def _replace(self, tree: Tree, source: str, new: dict[Keys, str]) -> None:
        self.order = list(dict.fromkeys([*self.order, *new.values(), source]))
        known = {**self.sources, **new}
        self.sources = {keys: known.get(keys, source) for keys, _ in leaves(tree)}
        self.tree = tree


def _related(one: Keys, other: Keys) -> bool:
    """Whether one is the other or leads to it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def leaves(tree: Any, keys: Keys = ()) -> list[tuple[Keys, Any]]:
    """The values of a tree that are no mappings, or empty ones, with the keys that lead to each."""
    if not isinstance(tree, dict) or not tree:
        return [(keys, tree)] if keys else []
    return [leaf for key, value in tree.items() for leaf in leaves(value, (*keys, key))]


def copied(tree: Any) -> Any:
    """A tree that shares no mapping and no list with `tree`."""
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, list) else tree


def read_layers(path: Path, size: Path | Layer | None = None) -> list[Layer]:
    """A file and those that it is based on, the lowest first; `size`, a file or its values, stands for `$size`.

    Raises:
        InputError: a file cannot be read, has no such block, or the files name each other.
    """
    return _Reader(None if size is None else _Size(size)).layers(path)


class _Size:
    """The file that the user chose as the size."""

    def __init__(self, size: Path | Layer) -> None:
        self.source = size.source if isinstance(size, Layer) else str(size)
        self.layers: list[Layer] = []
        self.blocks: dict[str, list[Layer]] = {}
        for layer in [size] if isinstance(size, Layer) else _Reader(None).layers(size):
            own = dict(layer.tree)
            for name, block in _mapping(own.pop(BLOCKS, None) or {}, f"{layer.source}: {BLOCKS}").items():
                source = f"{layer.source} ({BLOCKS}.{name})"
                tree = _mapping(block, f"{layer.source}: {BLOCKS}.{name}")
                self.blocks.setdefault(name, []).append(Layer(source, tree))
            self.layers.append(Layer(layer.source, own, layer.others))

    def block(self, name: str, where: str) -> list[Layer]:
        """The block of this name, in each of the files that have it."""
        if name not in self.blocks:
            raise InputError(f"{where}: {self.source} has no block {name}; it has {', '.join(self.blocks) or 'none'}")
        return self.blocks[name]


def _mapping(value: Any, where: str) -> Tree:
    if not isinstance(value, dict):
        raise InputError(f"{where}: not a mapping")
    return value


class _Reader:
    """Reads files with all that they are based on; `size` stands for `$size`."""

    def __init__(self, size: _Size | None) -> None:
        self.size = size
        self.count = 0

    def layers(self, path: Path, above: tuple[str, ...] = ()) -> list[Layer]:
        """The layers of `path`, which the files `above` are based on."""
        self._count(1, path)
        real = os.path.realpath(path)
        if real in above:
            raise InputError(f"{path}: {BASE}: the files name each other")
        tree = read_file(path)
        layers: list[Layer] = []
        for base in _bases(tree.pop(BASE, None), str(path)):
            if base == SIZE or base.startswith(f"{SIZE}."):
                layers += self._of_size(base, path, f"{path}: {BASE}")
            else:
                layers += self.layers(path.parent / base, (*above, real))
        return [*layers, Layer(os.path.normpath(path), tree, self._fill_in(tree, path))]

    def _fill_in(self, tree: Tree, path: Path) -> dict[Keys, str]:
        """Put the blocks that sections of `tree` are based on under what stands there; says which values these are."""
        filled: dict[Keys, str] = {}
        for keys, node in list(_based_sections(tree)):
            where = f"{path}: {'.'.join((*keys, BASE))}"
            base = node.pop(BASE)
            if not isinstance(base, str) or not base.startswith(f"{SIZE}."):
                raise InputError(f"{where}: {base}: inside a section it is {SIZE}.NAME, a block of the size")
            for block in reversed(self._of_size(base, path, where)):
                before = {own for own, _ in leaves(tree)}
                _put_under(node, block.tree)
                filled |= {own: block.source for own, _ in leaves(tree) if own not in before}
        return filled

    def _of_size(self, base: str, path: Path, where: str) -> list[Layer]:
        """The layers that `$size` or `$size.NAME` stands for."""
        if self.size is None:
            raise InputError(f"{where}: {base}: no size was given; --size names a file such as conf/cpu.yaml")
        layers = self.size.layers if base == SIZE else self.size.block(base.removeprefix(f"{SIZE}."), where)
        self._count(len(layers), path)
        return layers

    def _count(self, number: int, path: Path) -> None:
        self.count += number
        if self.count > MOST_LAYERS:
            raise InputError(f"{path}: {BASE}: more than {MOST_LAYERS} files and blocks are laid over each other")


def _bases(value: Any, path: str) -> list[str]:
    """What `base:` at the top of a file names."""
    bases = [value] if isinstance(value, str) else value or []
    if not isinstance(bases, list) or not all(isinstance(base, str) and base for base in bases):
        raise InputError(f"{path}: {BASE}: neither a file nor a list of files")
    return bases


def _based_sections(tree: Tree, keys: Keys = ()) -> Iterator[tuple[Keys, Tree]]:
    """The mappings inside `tree` that have a key `base`, with the keys that lead there."""
    for key, value in tree.items():
        if isinstance(value, dict):
            if BASE in value:
                yield (*keys, key), value
            yield from _based_sections(value, (*keys, key))


def _put_under(own: Tree, block: Tree) -> None:
    """Add to `own` what `block` says and it does not, unless it describes another block."""
    if any(tag in own and block.get(tag) not in (None, own[tag]) for tag in TAGS):
        return
    for key, value in block.items():
        if key not in own:
            own[key] = copied(value)
        elif isinstance(own[key], dict) and isinstance(value, dict):
            _put_under(own[key], value)


def merge(base: Tree, own: Tree, keep_null: bool = False) -> Tree:
    """`own` over `base`: mappings join unless they describe different blocks, null drops a key, all else replaces.

    A key stays where it stands in `base`, so that the passes of a step run in the same order when one is changed.
    `keep_null`: null stays, to drop a key of what the result is laid over.
    """
    merged = {} if _describes_another(base, own) else dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(value, dict):
            merged[key] = merge(below if isinstance(below, dict) else {}, value, keep_null)
        elif value is not None or keep_null:
            merged[key] = value
        else:
            merged.pop(key, None)
    return merged


def _describes_another(base: Tree, own: Tree) -> bool:
    known = {tag: base.get(tag, missing) for tag, missing in TAGS.items()}
    return any(tag in own and known[tag] not in (None, own[tag]) for tag in TAGS)


def set_value(tree: Tree, override: str, source: str) -> Keys:
    """Change `tree` by `key.path=value`; the value is YAML, a number in the path is a place in a list.

    A section that is not there is made. Another `name` makes another block, with the defaults of that block.

    Args:
        tree: changed in place.
        override: what is typed.
        source: names it in errors.

    Returns:
        The keys to what was changed.

    Raises:
        InputError: the path leads nowhere.
    """
    path, separator, text = override.partition("=")
    keys = tuple(path.split("."))
    if not separator or not all(keys):
        raise InputError(f"{source}: expected key.path=value")
    value = plain(text, source)
    node: Any = tree
    for index, key in enumerate(keys[:-1]):
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = node[_place(node, keys, index, source)]
    last = _place(node, keys, len(keys) - 1, source)
    if keys[-1] in TAGS and isinstance(node, dict) and _describes_another(node, {keys[-1]: value}):
        node.clear()
        keys = keys[:-1]
    node[last] = value
    return keys


def _place(node: Any, keys: Keys, index: int, source: str) -> str | int:
    """Key `index` as what `node`, to which those before it lead, is indexed by."""
    key, before = keys[index], ".".join(keys[:index])
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise InputError(f"{source}: {before} is {node!r}, which has no {key}")
    if not key.isdecimal() or int(key) >= len(node):
        raise InputError(f"{source}: {before} is a list of {len(node)}, which has no {key}; the first is 0")
    return int(key)
