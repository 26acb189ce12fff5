"""Training curves from metrics.jsonl: losses of every pass, learning rate, gradient norm, several runs compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualtk.analysis.picture import COLOURS, Picture, Table, canvas, decorate
from dualtk.errors import InputError

STYLES: dict[str, dict[str, Any]] = {
    "train": {"linewidth": 1.0},
    "valid": {"linestyle": "--", "marker": "o", "markersize": 3},
}

NO_LOSSES = ("/accuracy", "/sparsity")  # of a mode, logged beside its losses

Lines = Sequence[Mapping[str, Any]]  # each with step, kind ("train" or "valid") and named values


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; one that was cut short by a kill is left out."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    lines = []
    for line in content.splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [line for line in lines if isinstance(line, dict) and "step" in line and "kind" in line]


def series(lines: Lines, kind: str, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity."""
    found = [(int(line["step"]), float(line[key])) for line in lines if line["kind"] == kind and key in line]
    return [step for step, _ in found], [value for _, value in found]


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
            steps, values = series(lines, kind, key)
            axes.plot(steps, values, color=colour, label=key if kind == "train" else None, **style)
            rows += [[kind, key, step, value] for step, value in zip(steps, values)]
    if all(isinstance(row[3], float) and row[3] > 0 for row in rows):
        axes.set_yscale("log")
    decorate(axes, "step", "loss per utterance", legend=bool(rows))
    caption = "Losses over training: means of training steps (lines) and of the validation set (dots, dashed)."
    return Picture(name, "Loss", caption, figure, Table(["kind", "loss", "step", "value"], rows))


def scalar_curve(lines: Lines, key: str, title: str, name: str) -> Picture:
    """One quantity of training over steps, such as `learning_rate` or `gradient_norm`."""
    figure, (axes,) = canvas(height=2.4)
    steps, values = series(lines, "train", key)
    axes.plot(steps, values, linewidth=1.0)
    decorate(axes, "step", title.lower())
    return Picture(name, title, f"{title} over training.", figure, Table(["step", key], list(zip(steps, values))))


def compare_runs(runs: Mapping[str, Lines], key: str = "loss", kind: str = "valid", name: str = "compared") -> Picture:
    """One loss of several runs over steps."""
    figure, (axes,) = canvas(height=3.2)
    rows: list[list[object]] = []
    for run, lines in runs.items():
        steps, values = series(lines, kind, key)
        axes.plot(steps, values, marker="o", markersize=3, linewidth=1.0, label=run)
        rows += [[run, step, value] for step, value in zip(steps, values)]
    decorate(axes, "step", f"{key} ({kind})", legend=True)
    return Picture(name, "Runs compared", f"{key} ({kind}) of each run.", figure, Table(["run", "step", key], rows))


def training_pictures(lines: Lines, prefix: str) -> list[Picture]:
    """All curves of one run; `prefix` begins their names."""
    pictures = [loss_curves(lines, f"{prefix}-loss")]
    for key, title in (("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm")):
        if series(lines, "train", key)[0]:
            pictures.append(scalar_curve(lines, key, title, f"{prefix}-{key.replace('_', '-')}"))
    return pictures
