"""A figure together with the numbers it shows. The one file that imports matplotlib.

Figures are drawn with matplotlib's object interface, so no global state and no display are needed. Their ink is one
reserved colour, which the SVG for a web page replaces by the page's own text colour: the same figure is readable on a
light and on a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dualtk.extras import extra
from dualtk.files import atomic_path, write_text

with extra("plots"):
    import matplotlib
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK = "#010203"
COLOURS = ("#4a8fd9", "#e5566d", "#2f9e5b", "#cf9500", "#17a2b8", "#b0559f", "#a6693a", "#8585d6")
DPI = 150
POWER = re.compile(r"\$\\mathdefault\{[\w^{}.\\\u2212 -]*\}\$")
FADING = LinearSegmentedColormap.from_list("fading", ["#e5566d00", "#e5566dff", "#7a1030ff"])
STYLE: dict[str, Any] = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 0.0,
    "legend.fontsize": 8.0,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=COLOURS),
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def _styled(**more: Any) -> AbstractContextManager[None]:
    """Matplotlib's settings for our figures; they are read when an artist is made, and again when it is written."""
    chosen: Any = {**STYLE, **more}
    return matplotlib.rc_context(chosen)


@dataclass(frozen=True)
class Table:
    """The data of a figure: a header and rows of equal length."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def tsv(self) -> str:
        """Tab-separated values; floats with six significant digits."""
        lines = ["\t".join(self.header)]
        lines += [
            "\t".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row) for row in self.rows
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Picture:
    """A drawn figure, its file name, its title, what it shows, and its data."""

    name: str
    title: str
    caption: str
    figure: Figure
    table: Table

    def svg(self) -> str:
        """The figure as an SVG element for a web page, in the page's own text colour."""
        _show_dollars(self.figure)
        buffer = io.StringIO()
        with _styled(**{"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        element = text[text.index("<svg") :].replace(INK, "currentColor")
        element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
        # ids are made from the salt and the shape alone, so figures of one page must not share them
        prefix = re.sub(r"\W", "-", self.name)
        element = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
        end = element.index(">") + 1
        head = element[:end].replace("<svg ", f'<svg role="img" aria-label="{escape(self.title)}" ', 1)
        return f"{head}<desc>{escape(self.caption)}</desc>{element[end:]}"

    def save(self, folder: Path) -> None:
        """Write NAME.svg, NAME.png (on white) and NAME.tsv into `folder`."""
        write_text(folder / f"{self.name}.svg", self.svg())
        write_text(folder / f"{self.name}.tsv", self.table.tsv())
        _show_dollars(self.figure)
        with atomic_path(folder / f"{self.name}.png") as temporary, _styled():
            self.figure.savefig(temporary, format="png", dpi=DPI, facecolor="white")


def _show_dollars(figure: Figure) -> None:
    """Only the powers of ten that matplotlib writes itself are formulas: a `$` in a name or a word is a letter."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text() and not POWER.fullmatch(text.get_text()):
            text.set_parse_math(False)


def canvas(rows: int = 1, width: float = 4.8, height: float = 2.8, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """An empty figure with `rows` axes one above the other; sizes in inches, `height` of one of them."""
    with _styled():
        figure = Figure(figsize=(width, height * rows))
        axes = figure.subplots(rows, 1, squeeze=False, sharex=share_x)
        return figure, [row[0] for row in axes]


def grid(rows: int, columns: int, cell: float = 2.4) -> tuple[Figure, list[Axes]]:
    """An empty figure with rows x columns square axes of `cell` inches, listed row by row."""
    with _styled():
        figure = Figure(figsize=(cell * columns, cell * rows))
        axes = figure.subplots(rows, columns, squeeze=False)
        return figure, [one for row in axes for one in row]


def heat_map(
    axes: Axes, values: NDArray[np.floating[Any]], extent: tuple[float, float, float, float], from_top: bool = False
) -> None:
    """Draw (rows, columns) of values in [0, 1] as a colour that fades into the page; the first row at the bottom.

    `extent` is left, right, bottom, top in the units of the axes; with `from_top` the first row is at the top.
    """
    origin: Literal["upper", "lower"] = "upper" if from_top else "lower"
    axes.imshow(values, aspect="auto", origin=origin, extent=extent, cmap=FADING, vmin=0, vmax=1, interpolation="none")


def label_axes(axes: Axes, x: str, y: str, title: str) -> None:
    """Small names for the axes of a small panel."""
    with _styled():
        axes.set_xlabel(x, fontsize=8)
        axes.set_ylabel(y, fontsize=8)
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)


def decorate(axes: Axes, x: str, y: str, title: str = "", legend: bool = False) -> None:
    """Name the axes, draw a faint grid behind the data, and a legend where asked."""
    with _styled():
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_title(title)
        axes.grid(True)
        axes.set_axisbelow(True)
        if legend:
            axes.legend()
