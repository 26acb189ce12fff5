"""utils/parse_options.sh: values that a recipe takes, and those that it refuses in one line."""

from __future__ import annotations

import re
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
changes=()     # any number of them

. '{ROOT}'/utils/parse_options.sh
echo "$stage|$hours|$nbpe_type|$exp${{changes[*]/#/|}}"
"""
STAGES = f"""#!/usr/bin/env bash
set -euo pipefail

# Options
stage=0      # first stage
stop_stage=5 # last stage

. '{ROOT}'/utils/parse_options.sh
echo "$stage to $stop_stage"
"""


def call(folder: Path, *arguments: str, recipe: str = RECIPE) -> subprocess.CompletedProcess[str]:
    script = folder / "run.sh"
    script.write_text(recipe)
    return subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "0|3.0|bpe|"),
        (["--stage", "-1", "--hours", "2"], "-1|2|bpe|"),
        (["--hours=.5", "--nbpe-type", "unigram"], "0|.5|unigram|"),
        (["--hours", "0.25", "--nbpe_type=a b", "--exp", "c"], "0|0.25|a b|c"),
        (["--changes", "a=1", "--changes=b=2"], "0|3.0|bpe||a=1 |b=2"),
        (["--exp", "$(touch pwned)", "--nbpe-type", "`touch pwned`;"], "0|3.0|`touch pwned`;|$(touch pwned)"),
    ],
)
def test_values(arguments: list[str], printed: str, tmp_path: Path) -> None:
    done = call(tmp_path, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == (printed + "\n", "", 0)


ESPNET = (
    RECIPE.replace("exp=           # folder", "exp=           # folder\nspeed_perturb= # speeds")
    .replace("nbpe_type=bpe  # kind", "bpe_type=bpe  # kind")
    .replace("$nbpe_type", "$bpe_type|$speed_perturb")
)


@pytest.mark.parametrize(
    ("arguments", "printed", "said"),
    [
        (["--asr_exp", "e"], "0|3.0|bpe||e", "run.sh: --asr_exp is --exp here\n"),
        (["--bpemode=char"], "0|3.0|char||", "run.sh: --bpemode is --bpe-type here\n"),
        (
            ["--speed-perturb-factors", " 0.9 1.0  1.1"],
            "0|3.0|bpe|0.9,1.0,1.1|",
            "run.sh: --speed-perturb-factors is --speed-perturb here\n",
        ),
    ],
)
def test_names_of_espnet_are_understood(arguments: list[str], printed: str, said: str, tmp_path: Path) -> None:
    done = call(tmp_path, *arguments, recipe=ESPNET)
    assert (done.stdout, done.stderr, done.returncode) == (printed + "\n", said, 0)


@pytest.mark.parametrize(
    "name", ["nlsyms", "inference_nj", "inference-config", "train_set", "init_param", "token_list"]
)
def test_names_of_espnet_are_answered(name: str, tmp_path: Path) -> None:
    done = call(tmp_path, f"--{name}", "x", recipe=ESPNET)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: error: --{name} is an option of ESPnet; here: ")


def declared(recipe: Path) -> set[str]:
    """The options of a recipe."""
    block = recipe.read_text(encoding="utf-8").split("\n# Options\n")[1].split("\n\n")[0]
    return set(re.findall(r"^([a-z]\w*)=", block, re.M))


def test_what_espnet_is_answered_with_exists() -> None:
    options = declared(ROOT / "egs/librispeech/asr1/run.sh")
    lines = [one for one in (ROOT / "utils/espnet_names.txt").read_text().splitlines() if not one.startswith("#")]
    assert len({line.split()[0] for line in lines}) == len(lines)
    for line in lines:
        name, how, answer = line.split(" ", 2)
        assert name not in options
        assert how in "=,!"
        if how != "!":
            assert answer in options
        for option in re.findall(r"--([a-z][a-z-]*)", answer.replace("dualtk train-lm --text", "")):
            known = options | {"nj", "beam", "lm"}  # the last three of dualtk decode
            assert option.replace("-", "_") in known, line
        for key in re.findall(r"--set ([a-z_.]+)", answer):
            assert re.search(rf"^\| `{key.split('.')[1]}` ", (ROOT / "docs/reference.md").read_text(), re.M), line


def test_a_recipe_that_hands_options_on_hands_on_ours(tmp_path: Path) -> None:
    recipe = RECIPE.replace("changes=()     # any number of them", "").replace("${{changes[*]/#/|}}", "")
    recipe = recipe.replace("\n. ", "\nother_options=()\n. ", 1) + 'printf "%s\\n" "${other_options[@]}"\n'
    done = call(tmp_path, "--asr_config", "codert", recipe=recipe)
    assert done.stdout.splitlines()[1:] == ["--conf", "codert"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--stage", "1.5"], "option --stage needs a whole number, not '1.5'"),
        (["--stage="], "option --stage needs a whole number, not ''"),
        (["--hours", "many"], "option --hours needs a number, not 'many'"),
        (["--hours", "."], "option --hours needs a number, not '.'"),
        (["--hours"], "option --hours needs a value"),
        (["--hour", "1"], "unknown option --hour; --help lists the options"),
        (["--stage", "08"], "option --stage needs at most nine digits, the first of them no 0, not '08'"),
        (["--stage", "00"], "option --stage needs at most nine digits, the first of them no 0, not '00'"),
        (["--stage", "9" * 20], f"option --stage needs at most nine digits, the first of them no 0, not '{'9' * 20}'"),
        (["--stage", "a[$(touch pwned)]"], "option --stage needs a whole number, not 'a[$(touch pwned)]'"),
        (["--st.ge", "1"], "unknown option --st.ge; --help lists the options"),
        (["--s[$(touch pwned)t]", "1"], "unknown option --s[$(touch pwned)t]; --help lists the options"),
        (["--exp[$(touch pwned)]=1"], "unknown option --exp[$(touch pwned)]; --help lists the options"),
        (["--Exp", "1"], "unknown option --Exp; --help lists the options"),
        (["--PATH", "1"], "unknown option --PATH; --help lists the options"),
        (["1"], "unexpected argument '1'; --help lists the options"),
    ],
)
def test_refusals(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = call(tmp_path, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"run.sh: error: {line}\n", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"]


@pytest.mark.parametrize(
    ("arguments", "stages"),
    [([], "0 to 5"), (["--stage", "5"], "5 to 5"), (["--stage", "-1", "--stop-stage", "-1"], "-1 to -1")],
)
def test_stages(arguments: list[str], stages: str, tmp_path: Path) -> None:
    assert call(tmp_path, *arguments, recipe=STAGES).stdout == stages + "\n"


@pytest.mark.parametrize("arguments", [["--stage", "6"], ["--stage", "3", "--stop-stage", "2"], ["--stop-stage", "-1"]])
def test_stages_of_which_none_would_run(arguments: list[str], tmp_path: Path) -> None:
    done = call(tmp_path, *arguments, recipe=STAGES)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("run.sh: error: --stage ")
    assert "there is nothing to do" in done.stderr


LISTS = f"""
. '{ROOT}'/utils/split_lists.sh
list=$1
shift
changes=("$@")
split list && split_changes changes
printf '%s\\n' "${{list[@]}}" -- "${{changes[@]}}"
"""


@pytest.mark.parametrize(
    ("given", "items"),
    [
        (["a b  c"], ["a", "b", "c", "--"]),
        (["'a b' c/\"d e\""], ["a b", "c/d e", "--"]),
        (["a", "train.max_steps=10 tokens.size=100"], ["a", "--", "train.max_steps=10", "tokens.size=100"]),
        (["a", "m.p={name: x, dim: 16}  sampled_steps=1", "b=[1, 2]"],
         ["a", "--", "m.p={name: x, dim: 16}", "sampled_steps=1", "b=[1, 2]"]),
        (["$(touch pwned) *"], ["$(touch", "pwned)", "*", "--"]),
    ],
)  # fmt: skip
def test_lists(given: list[str], items: list[str], tmp_path: Path) -> None:
    done = subprocess.run(["bash", "-euc", LISTS, "run.sh", *given], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout.splitlines(), done.stderr) == (items, "")
    assert not list(tmp_path.iterdir())


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    done = subprocess.run(["bash", "-euc", LISTS, "run.sh", "it's"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "run.sh: error: --list: a quote is not closed: it's\n")


def test_help_has_the_declarations(tmp_path: Path) -> None:
    done = call(tmp_path, "--help")
    assert done.returncode == 0
    assert "A recipe of nothing." in done.stdout
    assert "--nbpe-type       kind of wordpieces [bpe]" in done.stdout
