"""Imports run one way: each part of dualtk knows only the parts below it, in functions too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "dualtk"

LAYERS = (
    "errors files modes",
    "nn",
    "encoders",
    "lattice",
    "transducer",
    "search",
    "streaming",
    "distill pruning",
    "plan",
    "objective",
    "ssl",
    "config data score",
)
LAYERS += ("build", "build_pretraining", "train", "analysis", "bin")
ALLOWED = {part: set(" ".join(LAYERS[: i + 1]).split()) for i, layer in enumerate(LAYERS) for part in layer.split()}
ALLOWED["config"] = {"errors", "files", "modes"}
ALLOWED["data"] = ALLOWED["score"] = {"errors", "files", "config"}


def imported_parts(path: Path) -> set[str]:
    """The parts of dualtk that a file imports, anywhere in it (from dualtk import X, import dualtk.X)."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = {name.split(".")[1] for name in names if name.startswith("dualtk.")}
    return {part for part in parts if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_lies_below_it(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    above = imported_parts(path) - ALLOWED.get(own, set()) - {own}
    assert not above, f"{path}: {own} must not know {', '.join(sorted(above))}"
