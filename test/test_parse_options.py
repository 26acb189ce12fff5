"""utils/parse_options.sh: values that a recipe takes, and those that it refuses in one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPE = f"""#!/usr/bin/env bash
# A recipe of nothing.
set -euo pipefail

# Options
stage=0        # first stage
hours=3.0      # of speech
nbpe_type=bpe  # kind of wordpieces
exp=           # folder

. {ROOT}/utils/parse_options.sh
echo "$stage|$hours|$nbpe_type|$exp"
"""


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "run.sh"
    script.write_text(RECIPE)
    return subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "0|3.0|bpe|"),
        (["--stage", "-1", "--hours", "2"], "-1|2|bpe|"),
        (["--hours=.5", "--nbpe-type", "unigram"], "0|.5|unigram|"),
        (["--hours", "0.25", "--nbpe_type=a b", "--exp", "c"], "0|0.25|a b|c"),
    ],
)
def test_values(arguments: list[str], printed: str, tmp_path: Path) -> None:
    done = call(tmp_path, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == (printed + "\n", "", 0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--stage", "1.5"], "option --stage needs a whole number, not '1.5'"),
        (["--stage="], "option --stage needs a whole number, not ''"),
        (["--hours", "many"], "option --hours needs a number, not 'many'"),
        (["--hours", "."], "option --hours needs a number, not '.'"),
        (["--hours"], "option --hours needs a value"),
        (["--hour", "1"], "unknown option --hour; --help lists the options"),
        (["1"], "unexpected argument '1'; --help lists the options"),
    ],
)
def test_refusals(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = call(tmp_path, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"run.sh: error: {line}\n", 2)


def test_help_has_the_declarations(tmp_path: Path) -> None:
    done = call(tmp_path, "--help")
    assert done.returncode == 0
    assert "A recipe of nothing." in done.stdout
    assert "--nbpe-type       kind of wordpieces [bpe]" in done.stdout
