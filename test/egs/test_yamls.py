"""The YAMLs of the recipes: few, and none that says what another one says."""

from __future__ import annotations

import pytest
from shipped import METHODS, ROOT, SIZES, load_shipped

from dualtk.config import dump

YAMLS = sorted(ROOT.glob("egs/**/*.yaml"))


def groups(texts: dict[str, str]) -> list[list[str]]:
    """Names that have one text."""
    by_text: dict[str, list[str]] = {}
    for name, text in texts.items():
        by_text.setdefault(text, []).append(name)
    return [names for names in by_text.values() if len(names) > 1]


def test_they_are_few_and_none_is_a_copy() -> None:
    assert {*METHODS.values(), *SIZES.values()} < set(YAMLS)
    assert len(YAMLS) <= 60
    assert not groups({str(path): path.read_text(encoding="utf-8") for path in YAMLS})


@pytest.mark.parametrize("size", SIZES)
def test_no_two_methods_are_one(size: str) -> None:
    assert not groups({method: dump(load_shipped(method, size)) for method in METHODS})
