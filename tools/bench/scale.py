"""What it takes a training process to begin on a large set: processor time and memory, of objects and of columns.

    python tools/bench/scale.py 281000 2800000

Utterances are faked: their names, texts and numbers of frames are those of a corpus of read speech in kind, and their
features lie in one small archive. Each row is a process of its own. Memory is beyond what the process had before: at
most, and in the end what it shares with no other.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kaldiio
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dualtk.data.columns import Wanted, keep, kept  # noqa: E402
from dualtk.data.contents import Digests, features_digest  # noqa: E402
from dualtk.data.sampler import BatchesOptions  # noqa: E402
from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer  # noqa: E402
from dualtk.tables import each_entry  # noqa: E402

WORDS = [f"{first}{second}{third}" for first in "BDFGKLMNPRST" for second in "AEIOU" for third in ("", "N", "R", "ST")]
STEPS = ("columns, first", "columns, again", "order of an epoch", "digest", "words known", "objects")
TEXTS = 2000


def fake(folder: Path, count: int) -> None:
    """A data directory with features of `count` utterances."""
    random = np.random.default_rng(1)
    sizes = np.arange(100, 1700, 4)
    feats = {f"f{size:04d}": np.zeros((size, 4), np.float32) for size in sizes}
    chosen = random.integers(len(sizes), size=TEXTS).tolist()
    texts = [" ".join(random.choice(WORDS, size=int(sizes[which]) // 40)) for which in chosen]
    folder.mkdir()
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "own.scp"))
    places = [line.split()[1] for line in (folder / "own.scp").read_text().splitlines()]
    with (
        (folder / "feats.scp").open("w") as scp,
        (folder / "utt2num_frames").open("w") as frames,
        (folder / "text").open("w") as text,
        (folder / "utt2crc").open("w") as sums,
    ):
        for index, place in enumerate(random.integers(TEXTS, size=count).tolist()):
            name, which = f"{index // 100:06d}-{index // 10:07d}-{index:08d}", chosen[place]
            scp.write(f"{name} {places[which]}\n")
            frames.write(f"{name} {sizes[which]}\n")
            text.write(f"{name} {texts[place]}\n")
            sums.write(f"{name} {index:08x}\n")


def do(step: str, folder: Path, lists: Path, tokens: Path) -> object:
    """One of `STEPS`; what it leaves in memory."""
    tokenizer = Tokenizer(tokens)
    wanted = Wanted(folder, tokenizer.encode, 4, 2000)
    if step == "objects":
        return wanted.select()
    if step == "words known":
        return tokenizer.unknown_in(each_entry(folder / "text"))
    if step == "digest":
        return features_digest(folder, Digests(lists.parent / "digests.json"))
    keep(lists, wanted, tokens / "bpe.model")
    selection = kept(lists, folder)
    if step == "order of an epoch":
        assert selection.frames is not None
        for batch in BatchesOptions().build(selection.frames, shuffle=True, world_size=8):
            assert selection.entries[batch[0]].targets
    return selection


def private() -> float:
    """Megabytes that no other process shares, or could."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def peak() -> float:
    """Megabytes that the process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table, or do one step of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("utterances", type=int, nargs="+")
    parser.add_argument("--do", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        step, folder = options.do[0], Path(options.do[1])
        before, least, began = private(), peak(), time.process_time()
        left = do(step, folder / "set", folder / "lists", folder / "tokens")
        seconds = time.process_time() - began
        print(f"| {step} | {seconds:.1f} | {peak() - least:.0f} | {private() - before:.0f} |")
        del left
        return
    print("| utterances | step | seconds | MB at most | MB of its own |\n| --- | --- | --- | --- | --- |")
    for count in options.utterances:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fake(folder / "set", count)
            write_tokenizer(folder / "tokens", [" ".join(WORDS)] * 3, TokenOptions(size=80))
            for step in STEPS:
                call = [sys.executable, __file__, str(count), "--do", step, str(folder)]
                row = subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()
                print(f"| {count:,} {row}", flush=True)
            size = sum(path.stat().st_size for path in (folder / "lists").iterdir())
            print(f"| {count:,} | bytes of columns, each utterance | {size / count:.0f} | | |", flush=True)


if __name__ == "__main__":
    main()
