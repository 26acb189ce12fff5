"""Every parser of text on hostile input: it gives a value, or one line that says what is wrong, and in little time."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dualtk.analysis.curves import loss_keys, read_metrics, series
from dualtk.ctm import read_ctm, select_ctm
from dualtk.data.arks import read_cmvn
from dualtk.data.kinds import read_options
from dualtk.data.tokens import Tokenizer, TokenOptions, train_tokenizer
from dualtk.errors import InputError
from dualtk.score.churn import churn, read_partials
from dualtk.score.read import read_emissions
from dualtk.score.summary import Decoding, algorithmic_latency, read_score
from dualtk.score.utterances import read_utterances
from dualtk.score.wer import score_utterance
from dualtk.search.language_model import read_arpa
from dualtk.tables import load_table, read_json, read_lines
from dualtk.trn import trn_id
from dualtk.yaml_text import plain, to_text
from dualtk.yaml_tree import read_file, read_layers, set_value

pytestmark = pytest.mark.slow

PIECES = ["<blk>", "<unk>", "\u2581A", "B"]
LM = b"\\data\\\nngram 1=2\n\n\\1-grams:\n-1 \xe2\x96\x81A\n-1 B\n\n\\end\\\n"
DECODING = {
    "mode": "streaming",
    "full_context": False,
    "chunk": 4,
    "look_ahead_ms": 60,
    "subsampling": 4,
    "num_parameters": 9,
    "real_time_factor": 0.1,
    "search": {"name": "greedy"},
}
EMISSIONS = {"utt": "a-1", "tokens": ["\u2581A"], "emissions": [0.5], "duration": 2.0}
UGLY = [
    b"",
    b"\xef\xbb\xbf",
    b"\xff\xfe a\x00b\x00",
    b"a\x00b c\n",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 10_000,
    b"[1, 2]\n",
    b'"text"\n',
    b"null\n",
    b'{"utt": {}, "tokens": 3, "emissions": [NaN], "duration": 1e999}\n',
    b'{"utt": "a", "tokens": [[]], "emissions": [true], "duration": 1}\n',
    b"a " * 50_000,
    b"x" * 70_000 + b" y\n",
    b"\r\n\r\n\t \n",
    "\u2028 \u00a0 \u0085\n".encode(),
    b"a-1 1 0.1 0.2 b\n",
    b"a-1 1 1e400 nan b\n",
]


def words_of(path: Path) -> object:
    return read_ctm(path), select_ctm([path], ["a-1"])


def metrics_of(path: Path) -> object:
    lines = read_metrics(path)
    return [series(lines, "train", key) for key in loss_keys(lines)]


def decoding_of(path: Path) -> object:
    return algorithmic_latency(read_json(path, Decoding))


def score_of(path: Path) -> object:
    path.rename(path.with_name("score.json"))
    return read_score(path.parent)


def features_of(path: Path) -> object:
    path.rename(path.with_name("fbank.json"))
    return read_options(path.parent)


READERS: dict[str, Callable[[Path], object]] = {
    "lines": read_lines,
    "table": load_table,
    "ctm": words_of,
    "emissions": read_emissions,
    "partials": lambda path: [churn(one) for one in read_partials(path).values()],
    "decoding": decoding_of,
    "score": score_of,
    "utterances": read_utterances,
    "metrics": metrics_of,
    "yaml": read_layers,
    "arpa": lambda path: read_arpa(path, PIECES),
    "cmvn": read_cmvn,
    "tokens": Tokenizer,
    "features": features_of,
}
GOOD: dict[str, bytes] = {
    "table": b"a-1 one two\nb-1 three\n",
    "ctm": b"a-1 1 0.10 0.20 one\n;; no word\n",
    "emissions": json.dumps(EMISSIONS).encode() + b"\n",
    "partials": b'{"utt": "a-1", "partials": [[0.1, "one"], [0.2, "one two"]]}\n',
    "decoding": json.dumps(DECODING).encode(),
    "metrics": b'{"step": 1, "kind": "train", "full/rnnt": 2.0, "loss": 3.0}\n',
    "yaml": b"base: []\ntrain: {steps: 3, list: [1.5, null, yes]}\n",
    "arpa": LM,
    "tokens": train_tokenizer(["ONE TWO THREE", "FOUR FIVE"], TokenOptions(type="char", size=30)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def survives(read: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(InputError):
        read(path)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with some bytes replaced, taken out or put in, or cut off."""

    def put(changes: list[tuple[int, int, bytes]]) -> bytes:
        for place, length, new in changes:
            at = place % (len(content) + 1)
            return content[:at] + new + content[at + length :]
        return content

    change = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.binary(max_size=8))
    return st.lists(change, min_size=1, max_size=3).map(put)


BRIEF = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("kind", READERS)
def test_ugly_files(kind: str, folder: Path) -> None:
    for content in UGLY:
        survives(READERS[kind], folder / "file", content)


@pytest.mark.parametrize("kind", READERS)
def test_any_bytes(kind: str, folder: Path) -> None:
    @BRIEF
    @given(st.binary(max_size=200))
    def check(content: bytes) -> None:
        survives(READERS[kind], folder / "file", content)

    check()


@pytest.mark.parametrize("kind", GOOD)
def test_damaged_files(kind: str, folder: Path) -> None:
    @BRIEF
    @given(damaged(GOOD[kind]))
    @example(GOOD[kind][: len(GOOD[kind]) // 2])
    def check(content: bytes) -> None:
        survives(READERS[kind], folder / "file", content)

    check()
    (folder / "file").write_bytes(GOOD[kind])
    READERS[kind](folder / "file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(st.text(max_size=5), inside, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("kind", "whole"),
    [
        ("decoding", DECODING),
        ("emissions", EMISSIONS),
        ("score", {"decoding": DECODING}),
        ("features", {"kind": "fbank", "sample_rate": 16000}),
    ],
)
def test_values_of_other_types(kind: str, whole: dict[str, Any], folder: Path) -> None:
    @BRIEF
    @given(st.sampled_from(sorted(whole)), JSON)
    def check(key: str, value: Any) -> None:
        survives(READERS[kind], folder / "file", json.dumps({**whole, key: value}).encode())

    check()


@BRIEF
@given(JSON)
def test_yaml_of_any_values(value: Any) -> None:
    with suppress(InputError):  # of characters that no text has, and numbers of many digits
        assert list(plain(to_text({"key": value}), "text")) == ["key"]


@BRIEF
@given(st.text(max_size=30))
def test_changes_by_key(text: str) -> None:
    with suppress(InputError):
        set_value({"a": {"b": [1, {"c": 2}]}}, f"a.{text}" if "=" in text else f"a.b={text}", "--set")


@BRIEF
@given(*[st.text(st.sampled_from("ab@(){}/*; "), max_size=40)] * 2)
def test_marks_never_fail(ref: str, hyp: str) -> None:
    scored = score_utterance("s-1", "s", ref, hyp)
    assert scored.words.errors <= len(ref) + len(hyp)


@BRIEF
@given(st.text(max_size=20), st.text(max_size=10))
def test_ids_cannot_break_a_trn(utterance: str, speaker: str) -> None:
    with suppress(InputError):
        assert not set(trn_id(utterance, speaker)) & set("() \t")


def test_devices_and_long_names(folder: Path) -> None:
    for path in (Path("/dev/zero"), Path("/dev/tty"), folder, folder / ("x" * 300)):
        with pytest.raises(InputError):
            read_lines(path)
        with pytest.raises(InputError):
            read_file(path)
    (folder / "based.yaml").write_text("base: /dev/zero\n")
    with pytest.raises(InputError, match="/dev/zero: not a file"):
        read_layers(folder / "based.yaml")


@pytest.fixture
def fifo(folder: Path) -> Iterator[Path]:
    path = folder / "fifo"
    os.mkfifo(path)
    yield path
    path.unlink()


def test_a_yaml_is_no_fifo_but_a_table_may_be(fifo: Path, folder: Path) -> None:
    (folder / "based.yaml").write_text(f"base: {fifo}\n")
    with pytest.raises(InputError, match="not a file"):
        read_layers(folder / "based.yaml")
    writer = threading.Thread(target=fifo.write_bytes, args=(b"a b\n",))  # as of `<(zcat text.gz)`
    writer.start()
    assert read_lines(fifo) == ["a b"]
    writer.join()


def test_a_small_archive_does_not_become_a_large_model(folder: Path) -> None:
    """What no line ends is one line; it is refused before it fills the memory."""
    (folder / "lm.arpa.gz").write_bytes(gzip.compress(b"\\1-grams:\n" + b"1" * 3_000_000))
    with pytest.raises(InputError, match="not a line of an ARPA file"):
        read_arpa(folder / "lm.arpa.gz", PIECES)
