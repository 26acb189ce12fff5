"""The table of networks that `dualtk extract` took out of larger ones: what is stored, how fast and how good it is."""

from __future__ import annotations

from collections.abc import Sequence

from dualtk.analysis.experiment import Experiment
from dualtk.analysis.page import UNKNOWN, Cell, table
from dualtk.score.table import parameters, percent

NOTE = """<p>One mode of a larger network, without the weights that its mask removes. File: model.safetensors, in MB,
and that of all modes. RTF: computation per second of audio of the streaming encoder, one stream on one thread. WER: of
each scored set, which is named after its data, and after int8 where it was decoded in that arithmetic.</p>"""


def word_errors(experiment: Experiment) -> dict[str, Cell]:
    """The word error rate of each scored set, by its column."""
    rates = {f"WER {one.score.name} %": one.score.score["wer"]["rate"] for one in experiment.decoded}
    return {column: Cell(percent(rate, interval=False), rate["value"]) for column, rate in rates.items()}


def compact_section(experiments: Sequence[Experiment]) -> str:
    """Size, speed and word errors of every extracted network."""
    rows: list[list[Cell | str]] = []
    extracted = [(one, one.extracted) for one in experiments if one.extracted is not None]
    speeds = list(dict.fromkeys(key for _, facts in extracted for key in facts["speed"]))
    sets = list(dict.fromkeys(column for one, _ in extracted for column in word_errors(one)))
    for one, facts in extracted:
        row: list[Cell | str] = [one.name, facts["mode"], facts["pattern"]]
        row += ["as trained" if facts["trained"] else "in one shot", "8 bits" if facts["int8"] else "float32"]
        row.append(Cell(f"{100 * facts['sparsity']:.1f}", facts["sparsity"]))
        row += [Cell(parameters(facts[key]), facts[key]) for key in ("kept_parameters", "parameters")]
        row += [Cell(f"{facts[key] / 1e6:.2f}", facts[key]) for key in ("size", "full_size")]
        times = [facts["speed"].get(key) for key in speeds]
        row += [UNKNOWN if time is None else Cell(f"{time:.4f}", time) for time in times]
        rates = word_errors(one)
        row += [rates.get(column, UNKNOWN) for column in sets]
        rows.append(row)
    header = ["system", "mode", "pattern", "pruned", "stored in", "left out %", "kept params", "params"]
    header += ["file MB", "all modes MB", *(f"RTF {key}" for key in speeds), *sets]
    return NOTE + table(header, rows, cards=True) if rows else ""
