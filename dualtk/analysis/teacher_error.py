"""Error between teacher and student over training (CoDERT, Figure 3), from the metrics of several runs."""

from __future__ import annotations

from collections.abc import Mapping

from dualtk.analysis.curves import Lines, series
from dualtk.analysis.picture import Picture, Table, canvas, decorate


def teacher_error(runs: Mapping[str, Lines], term: str, name: str = "teacher-error") -> Picture:
    """The distillation term of each run over steps.

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
            steps, values = series(lines, kind, key)
            label = run if len(keys) == 1 else f"{run} {key}"
            axes.plot(steps, values, linewidth=1.0, marker=".", markersize=3, label=label)
            rows += [[run, key, kind, step, value] for step, value in zip(steps, values)]
    decorate(axes, "step", term.replace("_", " "), legend=bool(rows))
    caption = "Error between teacher and student over training, with and without a shared decoder and distillation."
    return Picture(name, "Teacher-student error", caption, figure, Table(["run", "key", "kind", "step", "error"], rows))
