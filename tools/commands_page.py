"""Print docs/commands.md: every command and recipe with its options, from what reads them.

python tools/commands_page.py > docs/commands.md
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from dualtk.bin.dualtk import available, module_name

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("librispeech", "fsdd", "synthetic")  # the last two hand on to the first what they do not know
OPTION = re.compile(r"^(\w+)=(.*?) *# (.*)$", re.M)  # as utils/parse_options.sh reads them
ESCAPES = str.maketrans({"|": r"\|", "*": r"\*", "<": "&lt;"})  # what Markdown would take for its own


def shown(action: argparse.Action) -> str:
    """An option with what it takes, as it is typed."""
    if isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    elif action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = str(action.metavar or action.dest.upper())
    if action.nargs == 0:
        value = ""
    elif action.nargs in ("+", "*"):
        value = f"{value} ..."
    elif action.nargs == "?":
        value = f"[{value}]"
    return " ".join(filter(None, [", ".join(action.option_strings), value]))


def meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """What help says, in one cell of a table."""
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    needed = "needed; " if action.required and action.option_strings else ""
    return " ".join(f"{needed}{text}".split()).translate(ESCAPES)


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What is typed behind the command, arguments first."""
    found = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    return sorted(found, key=lambda one: bool(one.option_strings))


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """The commands of a command, with what they do."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {one.dest: one.help or "" for one in action._choices_actions}
            yield from ((one, texts.get(name, "")) for name, one in action.choices.items())


def section(parser: argparse.ArgumentParser, text: str, depth: int) -> Iterator[str]:
    """A command: what it does, and a table of its options."""
    yield f"{'#' * depth} `{parser.prog}`\n"
    yield f"{inspect.cleandoc(text)}\n"
    rows = [one for one in actions(parser) if not isinstance(one, argparse._SubParsersAction)]
    if rows:
        yield "| option | what it does |\n| --- | --- |"
        yield "\n".join(f"| `{shown(one)}` | {meaning(parser, one)} |" for one in rows) + "\n"
    for one, words in commands(parser):
        yield from section(one, words, depth + 1)


def recipe(name: str) -> Iterator[str]:
    """A run.sh: what it says of itself, and a table of its options."""
    path = ROOT / f"egs/{name}/asr1/run.sh"
    head, _, rest = path.read_text(encoding="utf-8").partition("\n# Options\n")
    said = [line.removeprefix("#").strip() for line in head.splitlines()[1:] if line.startswith("#")]
    yield f"## `{path.relative_to(ROOT)}`\n"
    yield "\n".join(said).strip().translate(ESCAPES) + "\n"
    yield "| option | what it does | default |\n| --- | --- | --- |"
    for option, default, text in OPTION.findall(rest.partition("\n\n")[0]):
        value = default.strip('"').removesuffix("()")
        words = text.translate(ESCAPES).replace("[_", r"[\_")
        yield f"| `--{option.replace('_', '-')}` | {words} | {f'`{value}`' if value else ''} |"
    yield ""


def page() -> str:
    """The whole page."""
    lines = [
        "# Commands\n",
        "Made by `python tools/commands_page.py > docs/commands.md`; `dualtk COMMAND --help` says the same.",
    ]
    lines.append(
        "Commands may be written with hyphens or underscores. `dualtk --debug COMMAND` shows where an error arose.\n"
    )
    for command, text in available().items():
        lines.append(f"- [`{command}`](#dualtk-{command}): {text}")
    lines += [f"- [run.sh of {name}](#egs{name}asr1runsh)" for name in RECIPES]
    lines.append("")
    for command in available():
        parser: argparse.ArgumentParser = importlib.import_module(module_name(command)).parser()
        lines += section(parser, parser.description or "", 2)
    for name in RECIPES:
        lines += recipe(name)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
