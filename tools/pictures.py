"""Draw the pictures of docs/ideas.md: a lattice with its numbers, and what each layer sees in both modes.

python tools/pictures.py [DIR]: writes lattice.svg and modes.svg into it; default: docs/images
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A lattice of three frames and the labels A and B: probabilities of blank (T, U + 1) and of the next label (T, U).
BLANK = [[0.6, 0.5, 0.9], [0.3, 0.4, 0.9], [0.2, 0.3, 0.8]]
LABEL = [[0.4, 0.3], [0.6, 0.5], [0.7, 0.6]]
NAMES = "AB"

FRAMES = 8
LOOKED_AT = 4  # the output frame whose inputs are drawn
KERNEL, CHUNK, LEFT = 5, 2, 2
FULL, STREAMING = "full context", "streaming"
# The input frames that output frame 4 depends on, layer by layer; test/docs/test_pictures.py asks the layers.
SEEN = {
    "convolution": {FULL: range(2, 7), STREAMING: range(2, 5)},
    "average pooling": {FULL: range(8), STREAMING: range(5)},
    "self-attention": {FULL: range(8), STREAMING: range(2, 6)},
    "norm": {FULL: range(4, 5), STREAMING: range(4, 5)},
}
NOTES = {
    "convolution": {FULL: f"all {KERNEL} taps", STREAMING: "the left and the middle taps"},
    "average pooling": {FULL: "mean of all frames", STREAMING: "mean of the frames so far"},
    "self-attention": {FULL: "every frame", STREAMING: f"its chunk of {CHUNK}, {LEFT} before it"},
    "norm": {FULL: "one set of weights", STREAMING: "another set of weights"},
}
INK, GREY, ACCENT, OTHER, PAPER = "#1f2933", "#c3cad2", "#00796b", "#c2410c", "#ffffff"


@dataclass(frozen=True)
class Sums:
    """Of a lattice: forward (T, U + 1), and how probable each arc is, of blank (T, U + 1) and of labels (T, U)."""

    forward: list[list[float]]
    blank: list[list[float]]
    label: list[list[float]]


def sums() -> Sums:
    """Of the lattice that is drawn (Graves 2012, section 2.4)."""
    frames, labels = len(BLANK), len(NAMES)
    forward = [[0.0] * (labels + 1) for _ in range(frames)]
    backward = [[0.0] * (labels + 1) for _ in range(frames)]
    for t in range(frames):
        for u in range(labels + 1):
            came = forward[t - 1][u] * BLANK[t - 1][u] if t else 0.0
            said = forward[t][u - 1] * LABEL[t][u - 1] if u else 0.0
            forward[t][u] = came + said if t or u else 1.0
    for t in reversed(range(frames)):
        for u in reversed(range(labels + 1)):
            goes = BLANK[t][u] * (float(u == labels) if t == frames - 1 else backward[t + 1][u])
            says = LABEL[t][u] * backward[t][u + 1] if u < labels else 0.0
            backward[t][u] = goes + says
    total = backward[0][0]
    beyond = [
        [backward[t + 1][u] if t < frames - 1 else float(u == labels) for u in range(labels + 1)] for t in range(frames)
    ]
    blank = [[forward[t][u] * BLANK[t][u] * beyond[t][u] / total for u in range(labels + 1)] for t in range(frames)]
    label = [[forward[t][u] * LABEL[t][u] * backward[t][u + 1] / total for u in range(labels)] for t in range(frames)]
    return Sums(forward, blank, label)


def text(x: float, y: float, words: str, size: int = 13, colour: str = INK, anchor: str = "middle") -> str:
    """Words around a point."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, head: bool = False) -> str:
    """A line, or an arrow."""
    end = f' marker-end="url(#{colour[1:]})"' if head else ' stroke-linecap="round"'
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:.2f}"{end}/>'


def circle(x: float, y: float, radius: float, fill: str, stroke: str = INK) -> str:
    """A frame, or a cell."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'


def picture(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    """A whole file; white paper, so that it reads on dark pages too."""
    heads = "".join(
        f'<marker id="{colour[1:]}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="14" markerHeight="14" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for colour in (ACCENT, OTHER)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif">\n<title>{title}</title>\n<defs>{heads}</defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def lattice() -> Iterator[str]:
    """Cells with the sum over all ways to them; arcs as thick as they are probable."""
    found, labels = sums(), len(NAMES)

    def place(t: int, u: int) -> tuple[float, float]:
        return 130 + 190 * t, 330 - 130 * u

    for t in range(len(BLANK)):
        for u in range(labels + 1):
            x, y = place(t, u)
            is_end = t == len(BLANK) - 1 and u == labels
            if t < len(BLANK) - 1 or is_end:
                yield line(x + 30, y, x + (95 if is_end else 158), y, ACCENT, 1 + 5 * found.blank[t][u], head=True)
                yield text(x + (62 if is_end else 94), y - 12, f"{BLANK[t][u]:g}", colour=ACCENT)
            if u < labels:
                yield line(x, y - 30, x, y - 98, OTHER, 1 + 5 * found.label[t][u], head=True)
                yield text(x + 22, y - 62, f"{NAMES[u]} {LABEL[t][u]:g}", colour=OTHER, anchor="start")
    for t in range(len(BLANK)):
        for u in range(labels + 1):
            x, y = place(t, u)
            yield circle(x, y, 28, PAPER)
            yield text(x, y + 5, f"{found.forward[t][u]:.4g}", 14)
        yield text(place(t, 0)[0], 388, f"frame {t}", colour=INK)
    for u in range(labels + 1):
        yield text(52, place(0, u)[1] + 5, ["nothing yet", "A", "A B"][u], colour=INK)
    yield text(place(2, 2)[0] + 128, place(2, 2)[1] + 5, "end", 14)
    yield text(320, 24, "right: blank, on to the next frame.  up: the next label, in the same frame.", 13)


def modes() -> Iterator[str]:
    """A row for each layer, a column for each mode; output frame 4 and the inputs that it sees."""
    for column, mode in enumerate((FULL, STREAMING)):
        left, colour = 30 + 270 * column, ACCENT if mode == FULL else OTHER
        yield text(left + 98, 24, mode, 16, colour)
        for row, (layer, seen) in enumerate(SEEN.items()):
            top = 78 + 160 * row
            if column == 0:
                yield text(22, top - 14, layer, 15, anchor="start")

            def across(frame: int, left: float = left) -> float:
                return left + 28 * frame

            for frame in seen[mode]:
                yield line(across(frame), top + 76, across(LOOKED_AT), top + 14, colour, 2)
            for frame in range(FRAMES):
                yield circle(across(frame), top + 6, 8, colour if frame == LOOKED_AT else PAPER, GREY)
                yield circle(across(frame), top + 84, 8, colour if frame in seen[mode] else PAPER, GREY)
            yield text(left + 98, top + 114, NOTES[layer][mode], 14)
    yield text(263, 702, "above: outputs, of which the fifth is looked at; below: inputs", 14)
    yield text(263, 722, "time goes to the right", 14)


def main() -> None:
    """Write both."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs/images"
    folder.mkdir(parents=True, exist_ok=True)
    total = sums().forward[-1][-1] * BLANK[-1][-1]
    (folder / "lattice.svg").write_text(picture(690, 410, "A lattice of three frames and two labels", lattice()))
    (folder / "modes.svg").write_text(picture(526, 736, "What each layer sees in both modes", modes()))
    print(f"probability {total:.4f}, loss {-math.log(total):.4f}")


if __name__ == "__main__":
    main()
