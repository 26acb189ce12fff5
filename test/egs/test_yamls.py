"""The YAMLs of the recipes: few, and none that says what another one says."""

from __future__ import annotations

import pytest
from shipped import METHODS, ROOT, SIZES, load_shipped

from dualtk.config import dump
from dualtk.system import PretrainingSystem, load

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


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_no_two_methods_are_one(size: str) -> None:
    assert not groups({method: dump(load_shipped(method, size)) for method in METHODS})


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_fast_variant_of_the_papers_size_is_cheaper_and_bounded(method: str) -> None:
    """The same networks; what differs is what the loss and streaming attention look at."""
    fast, paper = (load(METHODS[method], SIZES["paper"].with_name(name)) for name in ("paper_fast.yaml", "paper.yaml"))
    assert fast.model == paper.model
    own_loss = isinstance(fast, PretrainingSystem) or method.startswith(("codert", "tt_"))
    assert own_loss or (fast.loss.name, paper.loss.name) == ("pruned", "exact")  # type: ignore[union-attr]
    own_context = method.startswith(("codert", "tt_"))  # the method says what is seen
    streaming = [mode.left_context for mode in fast.modes.values() if not mode.full_context]
    assert own_context or all(streaming)
