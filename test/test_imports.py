"""Imports run one way: no circle between files, and each part of dualtk knows only the parts below it.

Every import counts: at the top of a file, in a function, under TYPE_CHECKING, and a name that `import_module` is given.
`from dualtk.x import y` is an import of `dualtk.x.y` where that is a module, else of `dualtk.x`.

A package counts as its `__init__`. Whoever imports `dualtk.x.y` from outside of `dualtk.x` also imports `dualtk.x`, for
Python runs its `__init__` first. A file of `dualtk.x` does not: its package has begun by then, whoever came first.
But if it takes a name from its own package, that is an import like any other: a circle where the `__init__` imports it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
Graph = dict[str, set[str]]

# From the bottom up; parts of one line may know each other. Some are still to come. "" is the face, `dualtk` itself.
LAYERS = [
    "errors owner files written locks memory modes options frames jit version pieces extras edit_distance shared",
    "faults",
    "tables ctm trn yaml_text tensors checksums",
    "yaml_tree steps config trainable",
    "nn graphs",
    "encoders lattice",
    "transducer",
    "lm",
    "search",
    "streaming",
    "distill pruning",
    "plan",
    "objective",
    "ssl",
    "data score",
    "train",
    "run_options",
    "system lm_training",
    "trained trial_build reference",
    "compact transcript recognizer formats package hub",
    "analysis",
    "bin export serving",
]
LEVEL = {part: level for level, line in enumerate(LAYERS) for part in line.split()} | {"": len(LAYERS)}
HIGHEST_KNOWN = LEVEL | {"data": 2, "score": 2}  # these two know nothing of networks, nor of each other

# Imports that are still wrong: take one out when it is gone, and add none.
KNOWN_CIRCLES: set[tuple[str, str]] = set()
KNOWN_UPWARD: set[tuple[str, str]] = set()


def find_modules(root: Path, package: str) -> dict[str, Path]:
    """Every file by its module's name; an `__init__` by that of its folder."""
    paths = {path.relative_to(root).with_suffix("").parts: path for path in sorted((root / package).rglob("*.py"))}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for parts, path in paths.items()}


def imported_names(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for inner in (f"{node.module}.{alias.name}" for alias in node.names):
                yield inner if inner in modules else str(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (x.value for x in node.args if isinstance(x, ast.Constant) and isinstance(x.value, str))


def import_graph(root: Path, package: str) -> Graph:
    """Module -> the modules that it imports, with the packages around them that it is not inside of."""
    modules = find_modules(root, package)
    graph: Graph = {}
    for module, path in modules.items():
        graph[module] = set()
        for name in imported_names(path, modules):
            parts = name.split(".")
            around = [".".join(parts[:end]) for end in range(1, len(parts))]
            graph[module] |= {outer for outer in around if not f"{module}.".startswith(f"{outer}.")} | {name}
        graph[module] &= modules.keys()
    return graph


def find_circle(graph: Graph) -> list[str]:
    """Modules each of which imports the next, the first again at the end; none: there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


@cache
def graph() -> Graph:
    return import_graph(ROOT, "dualtk")


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def upward_imports() -> set[tuple[str, str]]:
    pairs = {(module, name) for module in graph() for name in graph()[module] if part_of(name) != part_of(module)}
    return {(module, name) for module, name in pairs if LEVEL[part_of(name)] > HIGHEST_KNOWN[part_of(module)]}


def without(known: set[tuple[str, str]]) -> Graph:
    return {module: {name for name in imports if (module, name) not in known} for module, imports in graph().items()}


def test_no_circle_between_files() -> None:
    assert not (circle := find_circle(without(KNOWN_CIRCLES))), " imports ".join(circle)


def test_no_part_knows_one_above_it() -> None:
    unknown = {part_of(module) for module in graph()} - LEVEL.keys()
    assert not unknown, f"give these a place in LAYERS: {unknown}"
    found = upward_imports() - KNOWN_UPWARD
    assert not found, "\n".join(f"{module} must not import {name}" for module, name in sorted(found))


def test_what_is_known_to_be_wrong_still_is() -> None:
    gone = {edge for edge in KNOWN_CIRCLES if not find_circle(without(KNOWN_CIRCLES - {edge}))}
    gone |= KNOWN_UPWARD - upward_imports()
    assert not gone, f"take these out of the lists in this file: {gone}"


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a": "import p.b", "b": "import p.a"}, True),
        ({"a": "import p.b", "b": "def f():\n    from p import a"}, True),
        ({"a": "import p.b", "b": "if TYPE_CHECKING:\n    from p.a import f"}, True),
        ({"a": "import p.b", "b": "importlib.import_module('p.a')"}, True),
        ({"x/__init__": "from p.x.a import f", "x/a": "import p.y", "x/b": "", "y": "from p.x.b import g"}, True),
        ({"x/__init__": "from p.x.a import f", "x/a": "from p.x import f"}, True),
        ({"x/__init__": "from p.x.a import f", "x/a": "from p.x import b", "x/b": ""}, False),
        ({"a": "import p.b, p.c", "b": "import p.c", "c": "import os"}, False),
    ],
)
def test_circles_are_seen(tmp_path: Path, files: dict[str, str], circle: bool) -> None:
    (tmp_path / "p/x").mkdir(parents=True)
    for name, text in {"__init__": "", **files}.items():
        (tmp_path / f"p/{name}.py").write_text(text, encoding="utf-8")
    assert bool(find_circle(import_graph(tmp_path, "p"))) == circle


NEW_PACKAGES = """
import sys, torch, numpy
known = set(sys.modules)
import dualtk.lattice
print(*sorted({name.split(".")[0] for name in sys.modules.keys() - known} - sys.stdlib_module_names))
"""


@pytest.mark.slow
def test_the_lattice_needs_only_torch_numpy_and_numba() -> None:
    """Numba comes later, with the first kernel."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NEW_PACKAGES]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dualtk"]
