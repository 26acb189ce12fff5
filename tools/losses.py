"""The first losses of every shipped system, to the last bit: what a refactoring on the CPU must leave as it is.

    python tools/losses.py record before.json                 # on the tree before the change
    python tools/losses.py record after.json                  # on the tree after it
    python tools/losses.py compare before.json after.json     # says the first difference of each system

Features are noise; each system takes 20 steps at the CPU sizes and 2 at the papers' (`--only` chooses by pattern).
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from tiny import WORDS, write_set  # noqa: E402

from dualtk.bin.train import main as train  # noqa: E402
from dualtk.data.kinds import write_options  # noqa: E402
from dualtk.data.tokens import TokenOptions, write_tokenizer  # noqa: E402
from dualtk.system import PretrainingSystem, System, load  # noqa: E402

SIZES = {"paper": ROOT / "egs/librispeech/asr1/conf/paper.yaml"}
SIZES |= {f"cpu-{path.parts[-4]}": path for path in sorted(ROOT.glob("egs/*/asr1/conf/cpu.yaml"))}
FIRST = ("codert_teacher", "dual_no_distillation", "tt_full", "wav2vec_pretrain")  # others begin with them
LEFT_OUT = ("time", "audio_per_second")


def changes(system: System, steps: int) -> list[str]:
    """Few steps, in which joint training, terms, masks and augmentation all begin."""
    common = {"max_steps": steps, "validate_every": steps, "save_every": steps, "log_every": 1, "average_best": 1}
    found = [f"train.{key}={value}" for key, value in common.items()] + ["train.precision=float32"]
    found += ["batches.cache=true", "batches.max_frames=400", "batches.max_utterance_frames=400"]
    found += [f"terms.{key}.start_step={steps // 2}" for key in getattr(system, "terms", {})]
    if isinstance(system.sampled_steps, int) and system.sampled_steps:
        found.append(f"sampled_steps={steps // 4}")
    if system.pruning is not None:
        found.append("pruning.schedule={shape: constant, start_step: 0}")
    if getattr(system, "augment", None) is not None:
        found.append(f"augment.start_step={steps // 2}")
    return found


def record(output: Path, only: list[str]) -> None:
    """Train every system, and write its lines of metrics.jsonl."""
    losses: dict[str, Any] = {}
    methods = sorted((ROOT / "egs/methods").glob("*.yaml"), key=lambda path: (path.stem not in FIRST, path.stem))
    keys = [f"{method.stem} {size}" for method in methods for size in SIZES]
    wanted = {key for key in keys if any(fnmatch.fnmatch(key, pattern) for pattern in only or ["*"])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder / "lang", [" ".join(WORDS)], TokenOptions(size=24))
        for dim in (40, 64, 80, 160):
            write_set(folder / f"{dim}/train", 24, seed=1, dim=dim)
            write_set(folder / f"{dim}/dev", 6, seed=2, dim=dim)
        for size, path in SIZES.items():
            for method in methods:
                key = f"{method.stem} {size}"
                if key not in wanted and (method.stem not in FIRST or not any(one.endswith(size) for one in wanted)):
                    continue
                system = load(method, path)
                data = folder / str(system.features.dim)
                for part in ("train", "dev"):
                    write_options(data / part, system.features)
                exp = folder / size / "exp" / method.stem
                arguments = ["--config", str(method), "--size", str(path), "--exp", str(exp), "--device", "cpu"]
                arguments += ["--train-dir", str(data / "train"), "--dev-dir", str(data / "dev"), "--threads", "1"]
                arguments += [] if isinstance(system, PretrainingSystem) else ["--tokens", str(folder / "lang")]
                for change in changes(system, 2 if size == "paper" else 20):
                    arguments += ["--set", change]
                train(arguments)
                lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines()]
                losses[key] = [{name: line[name] for name in line if name not in LEFT_OUT} for line in lines]
                output.write_text(json.dumps(losses) + "\n")


def compare(before: Path, after: Path) -> int:
    """Print the first difference of each system; 1 if there is one."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    both = [key for key in old if key in new]
    differing = [key for key in both if old[key] != new[key]]
    for key in differing:
        index, pair = next((index, pair) for index, pair in enumerate(zip(old[key], new[key])) if pair[0] != pair[1])
        print(f"{key}: line {index + 1}: {pair[0]} -> {pair[1]}")
    print(f"{len(both) - len(differing)} of {len(both)} systems are equal to the last bit")
    return 1 if differing else 0


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record")
    one.add_argument("output", type=Path)
    one.add_argument("--only", action="append", default=[], metavar="PATTERN", help="such as 'codert* cpu-*'")
    one = commands.add_parser("compare")
    one.add_argument("before", type=Path)
    one.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        return compare(options.before, options.after)
    record(options.output, options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
