"""Take one mode out of a trained network, without the weights that its mask removes, as an experiment folder.

`dualtk decode` and `dualtk transcribe` read the folder like any other. A sparsity that the network was not trained with
is reached by pruning it here, in one shot: above that of training, from the weights that training kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualtk.bin.dualtk import run
from dualtk.errors import InputError

if TYPE_CHECKING:
    from dualtk.compact import CompactFacts


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk extract`."""
    options = argparse.ArgumentParser(prog="dualtk extract", description=__doc__)
    options.add_argument("out", type=Path, metavar="OUT", help="experiment folder to write")
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument("--mode", default="streaming", metavar="NAME", help="mode to keep; default: streaming")
    options.add_argument(
        "--sparsity",
        type=float,
        metavar="S",
        help="fraction of the prunable weights to leave out; above the mode's more are left out than in training, "
        "below it weights come back, both in one shot; default: the mode's",
    )
    options.add_argument(
        "--pattern",
        metavar="P",
        help="unstructured, 8x1 or 2:4, for one-shot pruning, also of a network whose masks are unfinished; "
        "default: as trained",
    )
    options.add_argument(
        "--int8", action="store_true", help="store the encoder's linear weights in 8 bits, a scale for each output"
    )
    return options


def lines(facts: CompactFacts) -> list[str]:
    """What was written, to read."""
    how = "as trained" if facts.trained else "in one shot"
    return [
        f"mode {facts.mode}: {100 * facts.sparsity:.1f} % of the prunable weights left out ({facts.pattern}, {how})",
        f"parameters: {facts.kept_parameters} of {facts.parameters}",
        f"model.safetensors: {facts.size} bytes, was {facts.full_size}",
        *(f"real-time factor of the encoder, {key}: {value:.4f}" for key, value in facts.speed.items()),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Extract; see `parser` for the options."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.compact import mode_of_size, write_compact
    from dualtk.pruning.one_shot import choose_masks
    from dualtk.pruning.pruner import PruningOptions
    from dualtk.trained import load

    if options.out.exists():
        raise InputError(f"{options.out}: exists already")
    trained = load(options.exp)
    mode = mode_of_size(trained.system, trained.mode(options.mode), options.sparsity)
    training = trained.system.pruning or PruningOptions()
    masks = choose_masks(trained.network, mode, training, options.sparsity, options.pattern)
    facts = write_compact(options.out, trained, mode, masks, options.int8)
    print("\n".join(lines(facts)))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
