"""What hotwords do to words of a test set that training never heard.

    python tools/bench/rare_words.py EXP --data DIR --train TEXT [--modes streaming full] [--beams 1 4]
        [--scores 0 0.5 1 2] [--least 2] [--letters 5]

DIR is a test set with features and transcripts, TEXT the transcripts of training, as Kaldi has them. The hotwords are
the words of DIR that TEXT has not, occur there at least --least times and have so many letters. Recall is the share of
their occurrences that are recognised, aligned with the reference; false is a hotword in a hypothesis where the
reference has another word or none. The score 0 is the search without hotwords.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dualtk.bin import decode  # noqa: E402
from dualtk.score.align import align  # noqa: E402
from dualtk.tables import read_table  # noqa: E402


def rare_words(texts: Mapping[str, str], train: Path, least: int, letters: int) -> set[str]:
    """Words of `texts` that training has not."""
    known = {word for text in read_table(train, ordered=False).values() for word in text.split()}
    counts = Counter(word for text in texts.values() for word in text.split())
    return {word for word, count in counts.items() if count >= least and len(word) >= letters and word not in known}


def row(texts: Mapping[str, str], found: Mapping[str, str], rare: set[str]) -> str:
    """Recall, false hotwords and word errors of a decoded set."""
    said = recognised = false = words = errors = 0
    for name, text in texts.items():
        words += len(text.split())
        for pair in align(text.split(), found.get(name, "").split()):
            said += pair.ref in rare
            recognised += pair.ref in rare and pair.kind == "C"
            false += pair.hyp in rare and pair.kind != "C"
            errors += pair.kind != "C"
    return f"{100 * recognised / said:.1f} % of {said} | {false} | {100 * errors / words:.2f} %"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path, metavar="EXP")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--train", type=Path, required=True, metavar="TEXT")
    parser.add_argument("--modes", nargs="+", default=["streaming", "full"])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--scores", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--least", type=int, default=2)
    parser.add_argument("--letters", type=int, default=5)
    options = parser.parse_args(argv)
    texts = read_table(options.data / "text")
    rare = rare_words(texts, options.train, options.least, options.letters)
    print(f"| mode | beam | reward | recall of {len(rare)} words | false | WER |\n|{' --- |' * 6}")
    with tempfile.TemporaryDirectory() as folder:
        hotwords = Path(folder, "hotwords")
        hotwords.write_text("".join(f"{word}\n" for word in sorted(rare)), encoding="utf-8")
        for number, (beam, mode, score) in enumerate(itertools.product(options.beams, options.modes, options.scores)):
            out = Path(folder, str(number))
            call = ["--exp", options.exp, "--data", options.data, "--mode", mode, "--beam", beam, "--out", out]
            call += ["--hotwords", hotwords, "--hotwords-score", score] if score else []
            decode.main([*map(str, call), "--device", "cpu"])
            print(f"| {mode} | {beam} | {score:g} | {row(texts, read_table(out / 'text'), rare)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
