"""A web page in one file: nothing is fetched, it opens from disk, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #5b6570; --line: #d5dae0; --band: #f4f6f8;
  --wrong: #b3261e; --added: #1a6b36; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e6e9ed; --soft: #9aa5b1; --line: #343b44;
  --band: #1d2127; --wrong: #ff8a80; --added: #7fd99a; --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(0.75rem, 3vw, 2rem) 4rem; max-width: 82rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem;
  border-bottom: 1px solid var(--line); padding-bottom: 0.2rem; } h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p, figcaption { color: var(--soft); max-width: 60rem; } a { color: var(--link); }
.warning { color: var(--wrong); font-weight: 600; margin: 0.2rem 0; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: 0.5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.5rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { white-space: normal; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; } tbody tr:nth-child(even) { background: var(--band); }
td.number, th.number { text-align: right; }
td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
td small { display: block; color: var(--soft); font-size: 0.75rem; line-height: 1.2; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--link); }
th button::after { content: "\\00a0\\2195"; color: var(--soft); font-weight: 400; }
th[aria-sort=ascending] button::after { content: "\\00a0\\2191"; }
th[aria-sort=descending] button::after { content: "\\00a0\\2193"; }
.figures { columns: 21rem; column-gap: 1.5rem; }
figure { margin: 0 0 1.5rem; min-width: 0; break-inside: avoid; }
figure svg, figure img { width: 100%; height: auto; display: block; }
figure.wide { column-span: all; } figure.wide > div { overflow-x: auto; }
figure.wide svg, figure.wide img { min-width: 42rem; max-width: 64rem; }
figcaption { font-size: 0.85rem; } figcaption strong { color: var(--ink); }
.utterance { border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem 0.9rem; margin: 0.8rem 0; }
.utterance h4 { margin: 0 0 0.3rem; font-size: 0.95rem; }
.utterance audio { width: 100%; max-width: 32rem; height: 2.2rem; }
.utterance dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: 0.2rem 1rem;
  margin: 0.4rem 0 0; }
.utterance dt { color: var(--soft); } .utterance dd { margin: 0; min-width: 0; }
@media (max-width: 40rem) { .utterance dl { grid-template-columns: 1fr; gap: 0; }
  .utterance dt { margin-top: 0.4rem; font-size: 0.85rem; } }
del { color: var(--wrong); } ins { color: var(--added); text-decoration: none; font-weight: 600; }
ins::before { content: "+"; opacity: 0.6; }
@media (max-width: 40rem) { th, td { white-space: normal; padding: 0.3rem 0.5rem; }
  .cards thead tr { display: flex; flex-wrap: wrap; gap: 0 0.9rem; padding: 0.3rem 0.5rem; }
  .cards, .cards thead, .cards tbody, .cards tbody tr { display: block; } .cards th { border: 0; padding: 0.1rem 0; }
  .cards tbody tr { padding: 0.3rem 0; border-top: 2px solid var(--line); }
  .cards td, .cards td.number { display: flex; justify-content: space-between; gap: 1rem; border: 0; text-align: right;
    padding: 0.1rem 0.6rem; }
  .cards td::before { content: attr(data-label); color: var(--soft); text-align: left; } }
details > summary { cursor: pointer; color: var(--link); margin: 0.5rem 0; }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const falling = header.getAttribute("aria-sort") === "ascending";
    headers.forEach(other => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : Number(x) - Number(y);
      return falling ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, and the number by which it sorts (None: by its text).

    `detail` stands smaller below the text; `wraps` is for long text, which may break over lines.
    """

    text: str
    number: float | None = None
    detail: str = ""
    wraps: bool = False

    def html(self, label: str) -> str:
        """The cell as an element that also knows its column's name."""
        kind = ' class="wrap"' if self.wraps else "" if self.number is None else ' class="number"'
        value = "" if self.number is None else f' data-value="{self.number:.8g}"'
        detail = f"<small>{escape(self.detail)}</small>" if self.detail else ""
        return f'<td{kind}{value} data-label="{escape(label)}"><span>{escape(self.text)}{detail}</span></td>'


UNKNOWN = Cell("-", float("inf"))  # sorts after every number


def table(header: Sequence[str], rows: Sequence[Sequence[Cell | str]], cards: bool = False) -> str:
    """A sortable table; a `str` cell sorts as text.

    Too wide for the page, it scrolls by itself; with `cards`, each row becomes a card on a phone.
    """
    cells = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    numeric = [any(row[column].number is not None for row in cells) for column in range(len(header))]
    head = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}><button>{escape(name)}</button></th>'
        for name, is_number in zip(header, numeric)
    )
    lines = ["".join(cell.html(label) for cell, label in zip(row, header)) for row in cells]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    kind = "sortable cards" if cards else "sortable"
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


@dataclass(frozen=True)
class Section:
    """A part of the page: an anchor, a title and its HTML."""

    anchor: str
    title: str
    content: str


# Of every page: what does not begin so was written by others.
BEGINNING = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
)


def page(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The whole document. `introduction` is text; the content of sections is HTML."""
    present = [section for section in sections if section.content]
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in present)
    body = "".join(
        f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>\n{section.content}</section>\n'
        for section in present
    )
    return (
        f"{BEGINNING}<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(introduction)}</p>\n<nav>{links}</nav>\n{body}"
        f"<script>{SCRIPT}</script>\n</body></html>\n"
    )
