"""What a configuration comes to, as text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dualtk.config import DEFAULT, origins, read_configuration
from dualtk.data.features import require_folders, set_folder
from dualtk.data.storage import Source
from dualtk.reference import markdown
from dualtk.system import PretrainingSystem, System, load, parse
from dualtk.trial_build import require_buildable
from dualtk.yaml_text import on_one_line
from dualtk.yaml_tree import Keys, Layered

WIDEST_VALUE = 30  # beyond it a value pushes what comes after it


def table(system: System, layered: Layered) -> str:
    """A line for each value, in three columns: its key, the value, and what says it."""
    rows = [
        (".".join(keys), on_one_line(value), _place(keys, place)) for keys, value, place in origins(system, layered)
    ]
    key_width = max(len(key) for key, _, _ in rows)
    value_width = min(WIDEST_VALUE, max(len(value) for _, value, _ in rows))
    lines: list[str] = []
    before = rows[0][0]
    for key, value, place in rows:
        if key.partition(".")[0] != before.partition(".")[0] and "." in key + before:
            lines.append("")
        lines.append(f"{key:<{key_width}}  {value:<{value_width}}  {place}")
        before = key
    return "\n".join(lines)


def _place(keys: Keys, place: str) -> str:
    """What says a value; a separate teacher whose model no file says has the student's."""
    return "as model" if place == DEFAULT and keys[:2] == ("teacher", "model") else place


def names(system: System, directories: Sequence[Path]) -> list[str]:
    """Task, labels of features and tokens (`-`: none), processes that read for each that trains, and modes; then the
    name of each folder of features.

    Raises:
        InputError: two of the directories would share a folder.
    """
    tokens = "-" if isinstance(system, PretrainingSystem) else system.tokens.label
    task = "pretrain" if isinstance(system, PretrainingSystem) else "transducer"
    made = (system.features.speeds, system.features.source)
    stored: tuple[tuple[float, ...], Source] = ((1.0,), "stored")
    sets = [(one, *(stored if index else made)) for index, one in enumerate(directories)]
    require_folders(sets, Path())
    folders = [set_folder(one, Path(), speeds, source).name for one, speeds, source in sets]
    workers = 0 if system.batches.cache else system.batches.num_workers
    return [" ".join([task, system.features.label, tokens, str(workers), *system.modes]), *folders]


def run_config(options: argparse.Namespace) -> int:
    """Print by the options of `dualtk config`; returns the exit status."""
    if options.command == "reference":
        print(markdown(), end="")
    elif options.command == "name":
        print("\n".join(names(load(options.config, options.size, options.set), options.directories)))
    else:
        layered = read_configuration(options.config, options.size, options.set)
        system = parse(layered)
        require_buildable(system)
        print(table(system, layered))
    return 0
