from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dualtk.analysis.picture import INK, Picture, Table, canvas, decorate, grid, heat_map, label_axes


def picture(name: str = "a b") -> Picture:
    figure, (axes,) = canvas()
    axes.plot([0, 1], [1, 2], label="one")
    decorate(axes, "x", "y", "title", legend=True)
    return Picture(name, 'A "title" & more', "A <caption>.", figure, Table(["x", "y"], [[0, 1.0], ["u", 1 / 3]]))


def test_svg_takes_the_page_s_colour_and_needs_nothing() -> None:
    svg = picture().svg()
    ElementTree.fromstring(svg)
    assert INK not in svg
    assert "currentColor" in svg
    assert 'aria-label="A &quot;title&quot; &amp; more"' in svg
    assert "<desc>A &lt;caption&gt;.</desc>" in svg
    assert not re.search(r'(href|src)="(?!#|data:)', svg.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', ""))


def test_svg_is_the_same_each_time_and_shares_no_id_with_another() -> None:
    first, again, other = picture().svg(), picture().svg(), picture("other").svg()
    assert first == again
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', first):
        assert reference in ids[0]


def test_table() -> None:
    assert picture().table.tsv() == "x\ty\n0\t1\nu\t0.333333\n"


def test_saved_in_three_forms(tmp_path: Path) -> None:
    picture("fig").save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fig.png", "fig.svg", "fig.tsv"]
    assert (tmp_path / "fig.png").read_bytes().startswith(b"\x89PNG")


def test_heat_maps_fade_into_the_page() -> None:
    figure, panels = grid(1, 2)
    heat_map(panels[0], np.eye(3), (0, 3, 0, 3))
    label_axes(panels[0], "x", "y", "z")
    pixels = panels[0].images[0].to_rgba(np.eye(3))
    assert pixels[0, 1, 3] == 0.0
    assert pixels[0, 0, 3] == 1.0
    assert len(panels) == 2
    assert figure.axes == panels


def test_a_dollar_in_a_name_is_a_letter() -> None:
    figure, (axes,) = canvas()
    axes.plot([1, 2], [1e-3, 1e3], label="a$b$ 5 $\\frac{")
    axes.set_yscale("log")
    axes.set_title("$x$")
    decorate(axes, "$", "$$", "$x_1$", legend=True)
    svg = re.sub("<!--.*?-->", "", Picture("dollar", "t", "c", figure, Table(["x"], [])).svg())
    assert "a$b$ 5 $\\frac{" in svg
    assert "$x_1$" in svg
