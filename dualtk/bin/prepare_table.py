"""Make a Kaldi data directory of a corpus that is listed in a table: TSV, CSV, or JSON lines.

The table of Common Voice, a manifest of NeMo, or any spreadsheet with a column of audio files and one of transcripts.
The audio stays where it is. Rows without words are left out and counted; whatever else is at fault is said, and nothing
is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_text_options, at_least, normalisation
from dualtk.data.transcripts import warn_of_digits
from dualtk.files import require_replaceable


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk prepare-table`."""
    options = argparse.ArgumentParser(prog="dualtk prepare-table", description=__doc__)
    add = options.add_argument
    add("table", type=Path, metavar="FILE", help="ends in .tsv, .csv, .txt, .jsonl, .json or .ndjson")
    add("--no-header", action="store_true", help="the first line is a row: columns are called 1, 2, 3, ...")
    add("--audio", required=True, metavar="COLUMN", help="paths of audio files")
    add("--text", required=True, metavar="COLUMN", help="transcripts")
    add("--speaker", metavar="COLUMN", help="speakers; default: every utterance has its own")
    add("--id", metavar="COLUMN", help="names of utterances; default: those of the audio files")
    add("--duration", metavar="COLUMN", help="seconds; default: by the headers of the audio files")
    add("--offset", metavar="COLUMN", help="seconds before the utterance in its file; default: it is the whole file")
    add("--audio-dir", type=Path, metavar="DIR", help="where paths of audio begin; default: the folder of the table")
    add(
        "--channel",
        type=at_least(1),
        metavar="N",
        help="of recordings with several, from 1; default: such a recording is a fault",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="the data directory that is written")
    add_text_options(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data directory; returns the exit status."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.data.corpus_table import Columns, prepare_table
    from dualtk.data.directories import FOLDER, summary

    require_replaceable(options.out, FOLDER)
    columns = Columns(options.audio, options.text, options.speaker, options.id, options.duration, options.offset)
    prepared = prepare_table(
        options.table,
        columns,
        options.audio_dir,
        normalisation(options),
        header=not options.no_header,
        channel=None if options.channel is None else options.channel - 1,
    )
    prepared.directory.write(options.out)
    print(summary(options.out, prepared.directory))
    for one, several, rows in (
        ("row without words", "rows without words", prepared.without_words),
        ("repeated row", "repeated rows", prepared.repeated),
    ):
        if rows:
            count = f"1 {one}" if len(rows) == 1 else f"{len(rows)} {several}"
            print(f"{options.table}: {count} left out, the first is {rows[0]}", file=sys.stderr)
    for line in warn_of_digits(options.out / "text", prepared.directory.tables["text"]):
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
