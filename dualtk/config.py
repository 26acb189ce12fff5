"""From YAML to options and back: every fault is one line with the file or the override, and the key's path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from dualtk.errors import InputError
from dualtk.faults import explain
from dualtk.options import Section
from dualtk.tables import read_json
from dualtk.version import __version__
from dualtk.yaml_text import to_text
from dualtk.yaml_tree import TAGS, Keys, Layer, Layered, Tree, leaves, read_file, read_layers

Root = TypeVar("Root", bound=Section)

FORMAT = 2  # of experiment folders; in the first, passes and terms were lists (docs/versions.md)
WRITTEN_BY = {1: "a checkout before 0.1.0"}  # the versions whose folders this one does not read
VERSIONS = "versions.json"  # the mark of a folder that `dualtk train` made: what it was made by and from
FILE = "config.yaml"  # of an experiment folder
DEFAULT = "default"


def read_configuration(path: Path, size: Path | Layer | None = None, overrides: Sequence[str] = ()) -> Layered:
    """The values of a YAML, over those that it is based on and under `key.path=value` changes."""
    layered = Layered()
    for layer in read_layers(path, size):
        layered.lay(layer)
    for override in overrides:
        layered.change(override)
    return layered


def read_experiment(folder: Path) -> Layered:
    """The values of the configuration that an experiment folder holds.

    Raises:
        InputError: there is none, or it was written by a dualtk whose folders were different.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder}: not an experiment: it has no {FILE}")
    tree = read_file(path)
    if tree.get("format") != FORMAT:
        raise InputError(f"{folder}: {_other_format(folder, tree.get('format', 1))}")
    return laid(tree, str(path))


def _other_format(folder: Path, found: object) -> str:
    """What to say of a folder that this version does not read, with the version that does."""
    line = f"of format {found}, this is dualtk {__version__}, which reads {FORMAT}"
    if isinstance(found, int) and found in WRITTEN_BY:
        return f"{line}: train it again, or use {WRITTEN_BY[found]}"
    facts = read_json(folder / VERSIONS) if (folder / VERSIONS).is_file() else {}
    return f"{line}: use dualtk {facts.get('dualtk', 'of the version')} that wrote it"


def laid(tree: Tree, source: str) -> Layered:
    """Values that one place says; null says nothing."""
    layered = Layered()
    layered.lay(Layer(source, tree))
    return layered


def validate(root: type[Root], tree: Tree, source: str) -> Root:
    """The options of class `root` that `tree` holds; see `validate_layered`.

    Raises:
        InputError: names `source` and the key.
    """
    return validate_layered(root, laid(tree, source))


def validate_layered(root: type[Root], layered: Layered) -> Root:
    """The options of class `root` that the values describe.

    Raises:
        InputError: an unknown, missing or mistyped key, or values that do not go together; names the file or override
            that says it, and the key.
    """
    try:
        return root.model_validate(layered.tree)
    except ValidationError as error:
        raise InputError(explain(error, layered.tree, layered.said, layered.order[-1])) from error


def plain_values(options: Section) -> Tree:
    """Every value, the defaults too, as YAML holds them: first what says which block a section describes."""
    tree: Tree = _tags_first(options.model_dump(mode="json"))
    return tree


def _tags_first(value: Any) -> Any:
    if not isinstance(value, dict):
        return [_tags_first(one) for one in value] if isinstance(value, list) else value
    return {key: _tags_first(value[key]) for key in sorted(value, key=lambda key: key not in TAGS)}


def dump(options: Section) -> str:
    """Every value as YAML; to read it gives the same options back."""
    return to_text(plain_values(options))


def origins(options: Section, layered: Layered) -> list[tuple[Keys, Any, str]]:
    """Every value with its keys and the place that says it; "default" where none does."""
    return [(keys, value, layered.sources.get(keys) or DEFAULT) for keys, value in leaves(plain_values(options))]
