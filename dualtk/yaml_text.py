"""YAML text to plain values and back, by the core schema of YAML 1.2.

`1e-3` is a number; `yes`, `2:4` and `2020-01-01` are text. There are no tags, keys are text and are there once, and the
values that aliases repeat are counted as if they were written out, so that a short file cannot become a long one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from dualtk.errors import InputError

LONGEST_TEXT = 500_000  # characters
MOST_VALUES = 10_000
DEEPEST = 30
MOST_DIGITS = 18
TOO_MANY = f"more than {MOST_VALUES} values, those that aliases repeat among them"
TOO_DEEP = f"nested more than {DEEPEST} deep"

TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
CORE = {  # of scalars without quotes: what they look like, and their first characters
    f"{TAG}null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    f"{TAG}bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    f"{TAG}int": (re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789")),
    f"{TAG}float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.nan|\.NaN|\.NAN)\Z"
        ),
        list("-+.0123456789"),
    ),
    MERGE: (re.compile(r"<<\Z"), ["<"]),
}
PLAIN_TAGS = {f"{TAG}{name}" for name in ("str", "seq", "map")} | set(CORE)


class _Loader(yaml.SafeLoader):
    """Reads plain values, and stops as soon as there are too many."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (an instance variable in the base)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.count = self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As in yaml.SafeLoader."""
        self.count += 1
        self.depth += 1
        if self.count > 2 * MOST_VALUES or self.depth > DEEPEST:  # keys are nodes too
            raise yaml.composer.ComposerError(
                None, None, TOO_MANY if self.depth <= DEEPEST else TOO_DEEP, self.line_mark()
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def line_mark(self) -> yaml.Mark:
        """Where the node begins that comes next."""
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        return mark


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (an instance variable in the base)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > MOST_DIGITS:
        raise _fault(node, f"a number of {len(text)} digits")
    return int(text)


for _tag, (_pattern, _first) in CORE.items():
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
_Loader.add_constructor(f"{TAG}int", _integer)


def plain(text: str, source: str) -> Any:
    """What YAML `text` says.

    Raises:
        InputError: no YAML, or more than plain values; names `source` and the line.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(f"{source}: not plain YAML: more than {LONGEST_TEXT} characters")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker().check(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        where = f"{source}:{error.problem_mark.line + 1}" if error.problem_mark and "\n" in text else source
        said = ", ".join(filter(None, [error.context, error.problem]))
        raise InputError(f"{where}: not plain YAML: {' '.join(said.split())}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{source}:{line}: not plain YAML: {error.reason}") from error
    finally:
        if loader is not None:
            loader.dispose()


def to_text(values: Any) -> str:
    """Plain values as YAML, in their order; `plain` gives them back."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def on_one_line(value: Any) -> str:
    """A plain value as YAML on a single line."""
    text: str = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.strip()[1:-1]


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


@dataclass(frozen=True)
class _Extent:
    """Of what a node says, aliases written out: values in it, and how deep they are nested."""

    values: int
    depth: int


class _Checker:
    """Refuses what is not plain before anything is made of it."""

    def __init__(self) -> None:
        self.known: dict[int, _Extent] = {}
        self.open: set[int] = set()

    def check(self, node: yaml.Node) -> _Extent:
        """The extent of `node`.

        Raises:
            MarkedYAMLError: it is not plain, or too large.
        """
        if id(node) in self.known:
            return self.known[id(node)]
        if id(node) in self.open:
            raise _fault(node, "an alias inside what it stands for")
        if node.tag not in PLAIN_TAGS:
            raise _fault(node, f"the tag {node.tag.replace(TAG, '!!')}")
        self.open.add(id(node))
        inside = [self.check(one) for one in _parts(node)]
        self.open.remove(id(node))
        extent = _Extent(1 + sum(one.values for one in inside), 1 + max((one.depth for one in inside), default=0))
        if extent.values > MOST_VALUES:
            raise _fault(node, TOO_MANY)
        if extent.depth > DEEPEST:
            raise _fault(node, TOO_DEEP)
        self.known[id(node)] = extent
        return extent


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """What is inside a node whose own keys or text are in order."""
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        return [value for _, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if node.tag in CORE and not CORE[node.tag][0].match(node.value):
        raise _fault(node, f"{node.value!r} is no {node.tag.removeprefix(TAG)}")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in node.value):
        raise _fault(node, f"{node.value!r} has characters that no text has")
    return []


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{TAG}str", MERGE):
            shown = f"{key.value} " if isinstance(key, yaml.ScalarNode) else ""
            raise _fault(key, f"the key {shown}is not text; quotes make it text")
        if not key.value.isprintable():
            raise _fault(key, f"the key {key.value!r} has characters that cannot be printed")
        if key.tag != MERGE and key.value in seen:
            raise _fault(key, f"the key {key.value} is there twice")
        seen.add(key.value)
