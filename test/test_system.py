"""Every shipped method builds at every size, and a system is the same after it was written and read."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import build, frozen_teacher, taught_by
from shipped import SHIPPED, load_shipped

from dualtk.config import dump, laid
from dualtk.system import System, TransducerSystem, load, parse
from dualtk.yaml_tree import parse_tree

ROOT = Path(__file__).resolve().parents[1]
THREE_WAY = "{name: three_way, student: streaming, teacher: full}"
HIDDEN = "{name: hidden, student: streaming, teacher: full}"


def read_again(system: System) -> System:
    return parse(laid(parse_tree(dump(system), "again"), "again"))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "size"), SHIPPED)
def test_shipped_methods_build_at_every_size(method: str, size: str) -> None:
    system = load_shipped(method, size)
    taught = taught_by(system, size)
    if taught is not None:
        assert taught.features == system.features
        assert taught.tokens == system.tokens
        system.check_alike(taught.model.encoder, "that of the teacher")
    objective = build(system, frozen_teacher(system, taught))
    assert {plan.mode.name for plan in objective.plan.passes} == set(system.passes)
    assert not system.unreached()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "size"), SHIPPED)
def test_shipped_methods_are_the_same_after_they_were_written(method: str, size: str) -> None:
    system = load_shipped(method, size)
    again = read_again(system)
    assert again == system
    assert dump(again) == dump(system)


def test_order_and_names_of_terms_modes_and_passes_are_kept() -> None:
    """Losses are summed, and passes drawn, in the order of the YAML."""
    system = load(
        ROOT / "test/conf/dual_conformer.yaml",
        overrides=[
            f"terms={{zebra: {THREE_WAY}, hidden: {HIDDEN}, ape: {THREE_WAY}, Ox: {HIDDEN}}}",
            "modes={streaming: {chunk: 4}, zz: {chunk: 2}, full: {full_context: true}, a: {}}",
            "passes={zz: {}, streaming: {}, full: {}, a: {}}",
        ],
    )
    again = read_again(system)
    for one in (system, again):
        assert isinstance(one, TransducerSystem)
        assert list(one.terms) == ["zebra", "hidden", "ape", "Ox"]
        assert [term.name for term in one.terms.values()] == ["three_way", "hidden", "three_way", "hidden"]
        assert list(one.modes) == ["streaming", "zz", "full", "a"]
        assert list(one.passes) == ["zz", "streaming", "full", "a"]
        objective = build(one)
        assert [weighted.key for weighted in objective.terms] == [f"terms.{key}" for key in one.terms]
        assert [plan.mode.name for plan in objective.plan.passes] == list(one.passes)


def test_a_term_is_of_the_kind_that_it_is_called_after_unless_it_says() -> None:
    plain = load(
        ROOT / "test/conf/dual_conformer.yaml", overrides=["terms={hidden: {student: streaming, teacher: full}}"]
    )
    assert isinstance(plain, TransducerSystem)
    assert plain.terms["hidden"].name == "hidden"
    assert "name: hidden" in dump(plain)
