"""Training curves from metrics.jsonl: losses of every pass, learning rate, gradient norm, several runs compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dualtk.analysis.picture import COLOURS, Picture, Table, canvas, decorate
from dualtk.tables import read_lines

STYLES: dict[str, dict[str, Any]] = {
    "train": {"linewidth": 1.0},
    "valid": {"linestyle": "--", "marker": "o", "markersize": 3},
}

NO_LOSSES = ("/accuracy", "/sparsity")  # of a mode, logged beside its losses

Lines = Sequence[Mapping[str, Any]]  # each with step, kind ("train" or "valid") and named values


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; one that was cut short by a kill is left out."""
    lines = []
    for line in read_lines(path):
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return [line for line in lines if isinstance(line, dict) and "kind" in line and _is_number(line.get("step"))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def series(lines: Lines, kind: str, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity."""
    chosen = [line for line in lines if line["kind"] == kind and _is_number(line.get(key))]
    found = [(int(line["step"]), float(line[key])) for line in chosen]
    return [step for step, _ in found], [value for _, value in found]


def draw_series(plot: Callable[..., Any], lines: Lines, kind: str, key: str, **style: Any) -> list[tuple[int, float]]:
    """Draw one quantity over steps by `plot` of some axes; returns its points."""
    steps, values = series(lines, kind, key)
    plot(steps, values, **style)
    return list(zip(steps, values))


def loss_keys(lines: Lines) -> list[str]:
    """The named losses of the passes (`mode/loss`), and the total; in order of first appearance."""
    keys = dict.fromkeys(key for line in lines for key in line if "/" in key and not key.endswith(NO_LOSSES))
    return [*keys, "loss"] if len(keys) != 1 else [*keys]


def loss_curves(lines: Lines, name: str = "loss") -> Picture:
    """Every loss over steps: training means as thin lines, validation as dots."""
    figure, (axes,) = canvas(height=3.2)
    rows: list[list[object]] = []
    for index, key in enumerate(loss_keys(lines)):
        colour = COLOURS[index % len(COLOURS)]
        for kind, style in STYLES.items():
            points = draw_series(
                axes.plot, lines, kind, key, color=colour, label=key if kind == "train" else None, **style
            )
            rows += [[kind, key, *point] for point in points]
    if all(isinstance(row[3], float) and row[3] > 0 for row in rows):
        axes.set_yscale("log")
    decorate(axes, "step", "loss per utterance", legend=bool(rows))
    caption = "Losses over training: means of training steps (lines) and of the validation set (dots, dashed)."
    return Picture(name, "Loss", caption, figure, Table(["kind", "loss", "step", "value"], rows))


def scalar_curve(lines: Lines, key: str, title: str, name: str) -> Picture:
    """One quantity of training over steps, such as `learning_rate` or `gradient_norm`."""
    figure, (axes,) = canvas(height=2.4)
    points = draw_series(axes.plot, lines, "train", key, linewidth=1.0)
    decorate(axes, "step", title.lower())
    return Picture(name, title, f"{title} over training.", figure, Table(["step", key], points))


def compare_runs(runs: Mapping[str, Lines], key: str = "loss", kind: str = "valid", name: str = "compared") -> Picture:
    """One loss of several runs over steps."""
    figure, (axes,) = canvas(height=3.2)
    rows: list[list[object]] = []
    for run, lines in runs.items():
        points = draw_series(axes.plot, lines, kind, key, marker="o", markersize=3, linewidth=1.0, label=run)
        rows += [[run, *point] for point in points]
    decorate(axes, "step", f"{key} ({kind})", legend=True)
    return Picture(name, "Runs compared", f"{key} ({kind}) of each run.", figure, Table(["run", "step", key], rows))


def teacher_error(runs: Mapping[str, Lines], term: str, name: str = "teacher-error") -> Picture:
    """The error between teacher and student (CoDERT, Figure 3): the distillation term of each run over steps.

    Runs that do not train on the term log it in validation only, so validation is drawn where training has none.

    Args:
        runs: metrics by name of run, such as separate decoders, shared decoder, shared decoder with distillation.
        term: name of the term; it is logged as `<student>/<term>`.
        name: file name of the picture.
    """
    figure, (axes,) = canvas()
    rows: list[list[object]] = []
    for run, lines in runs.items():
        keys = dict.fromkeys(key for line in lines for key in line if key.endswith(f"/{term}"))
        for key in keys:
            kind = "train" if series(lines, "train", key)[0] else "valid"
            label = run if len(keys) == 1 else f"{run} {key}"
            points = draw_series(axes.plot, lines, kind, key, linewidth=1.0, marker=".", markersize=3, label=label)
            rows += [[run, key, kind, *point] for point in points]
    decorate(axes, "step", term.replace("_", " "), legend=bool(rows))
    caption = "Error between teacher and student over training, with and without a shared decoder and distillation."
    return Picture(name, "Teacher-student error", caption, figure, Table(["run", "key", "kind", "step", "error"], rows))


def training_pictures(lines: Lines, prefix: str) -> list[Picture]:
    """All curves of one run; `prefix` begins their names."""
    pictures = [loss_curves(lines, f"{prefix}-loss")]
    for key, title in (("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm")):
        if series(lines, "train", key)[0]:
            pictures.append(scalar_curve(lines, key, title, f"{prefix}-{key.replace('_', '-')}"))
    return pictures
