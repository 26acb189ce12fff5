"""The table of networks that `dualtk extract` took out of larger ones: what is stored, and how fast they are."""

from __future__ import annotations

from collections.abc import Sequence

from dualtk.analysis.experiment import Experiment
from dualtk.analysis.page import Cell, table
from dualtk.score.table import parameters

NOTE = """<p>One mode of a larger network, without the weights that its mask removes. File: model.safetensors, in MB,
and that of all modes. RTF: computation per second of audio of the streaming encoder, one stream on one thread.</p>"""


def compact_section(experiments: Sequence[Experiment]) -> str:
    """Size and speed of every extracted network."""
    rows: list[list[Cell | str]] = []
    speeds = list(dict.fromkeys(key for one in experiments if one.extracted for key in one.extracted["speed"]))
    for one in experiments:
        facts = one.extracted
        if facts is None:
            continue
        row: list[Cell | str] = [one.name, facts["mode"], facts["pattern"]]
        row += ["as trained" if facts["trained"] else "in one shot", "8 bits" if facts["int8"] else "float32"]
        row.append(Cell(f"{100 * facts['sparsity']:.1f}", facts["sparsity"]))
        row += [Cell(parameters(facts[key]), facts[key]) for key in ("kept_parameters", "parameters")]
        row += [Cell(f"{facts[key] / 1e6:.2f}", facts[key]) for key in ("size", "full_size")]
        times = [facts["speed"].get(key) for key in speeds]
        row += [Cell("-", float("inf")) if time is None else Cell(f"{time:.4f}", time) for time in times]
        rows.append(row)
    header = ["system", "mode", "pattern", "pruned", "stored in", "left out %", "kept params", "params"]
    header += ["file MB", "all modes MB", *(f"RTF {key}" for key in speeds)]
    return NOTE + table(header, rows, cards=True) if rows else ""
