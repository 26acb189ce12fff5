"""The n-gram model against ARPA's definition worked by hand, and shallow fusion against its sum."""

from __future__ import annotations

import gzip
import math

import pytest
import torch
from small_networks import random_frames, search_parts

from dualtk.errors import InputError
from dualtk.search.beam import BeamSearch
from dualtk.search.fusion import Fusion, WeightedModel
from dualtk.search.hypothesis import Limits
from dualtk.search.language_model import read_arpa
from dualtk.search.whole import search_frames

PIECES = ["<blk>", "<unk>", "▁A", "▁B", "C", "D", "E"]
ARPA = """\\data\\
ngram 1=6
ngram 2=4
ngram 3=1

\\1-grams:
-99 <s> -0.3
-1.0 </s>
-0.5 ▁A -0.2
-0.7 ▁B -0.1
-0.9 C
-1.5 OTHER -0.7

\\2-grams:
-0.1 <s> ▁A -0.05
-0.4 ▁A ▁B -0.25
-0.6 ▁B C
-0.2 C </s>

\\3-grams:
-0.05 <s> ▁A ▁B

\\end\\
"""


def log10(*values: float) -> float:
    return sum(values) * math.log(10)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA, encoding="utf-8")
    return read_arpa(tmp_path / "lm.arpa", PIECES)


def test_scores_back_off_as_katz_says(model) -> None:
    a, b, c, d = 2, 3, 4, 5
    start = model.start()
    (after_a,) = model.advance([start], [a])
    (after_ab,) = model.advance([after_a], [b])
    (after_abc,) = model.advance([after_ab], [c])
    (elsewhere_a,) = model.advance([after_abc], [a])
    cases = [
        (start, a, log10(-0.1)),
        (start, b, log10(-0.3, -0.7)),
        (after_a, b, log10(-0.05)),
        (after_a, a, log10(-0.05, -0.2, -0.5)),
        (after_ab, c, log10(-0.25, -0.6)),
        (after_abc, b, log10(-0.7)),
        (elsewhere_a, b, log10(-0.4)),
        (after_abc, d, log10(-1.0)),  # unknown: the lowest of the vocabulary
    ]
    for state, token, expected in cases:
        assert float(model.scores([state])[0, token]) == pytest.approx(expected, abs=1e-5)
    assert model.scores([start, after_a, start]).shape == (3, 7)
    assert model.final([after_abc, after_a]) == pytest.approx([log10(-0.2), log10(-0.05, -0.2, -1.0)])


def test_gzip_is_read_too(model, tmp_path) -> None:
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    packed = read_arpa(tmp_path / "lm.arpa.gz", PIECES)
    assert torch.equal(packed.scores([packed.start()]), model.scores([model.start()]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no model\n", "is cut off: it does not end in"),
        ("\\data\\\nngram 1=9\nngram 2=7\n\\1-grams:\n-1 ▁A\n-1 ▁B\n", "end.*, and has 2 of 9 1-grams"),
        ("\\data\\\nngram 1=1\nngram 2=7\n\\1-grams:\n-1 ▁A\n\\end\\\n", "not whole, and has 0 of 7 2-grams"),
        ("\\data\\\nngram 1=1\n\\1-grams:\n-1 ▁A\n-1 ▁B\n\\end\\\n", "not whole, and has 2 of 1 1-grams"),
        ("\\data\\\nngram 1=none\n", "arpa:2: not a line"),
        ("\\1-grams:\nnan ▁A\n", "arpa:2: not a line"),
        ("\\1-grams:\n0.5 ▁A\n", "arpa:2: not a line"),
        ("\\1-grams:\n-1 ▁A inf\n", "arpa:2: not a line"),
        ("\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n", "0 of 0 words are no tokens of this network"),
        ("\\1-grams:\n-0.5\n", "arpa:2: not a line"),
        ("\\1-grams:\nx ▁A\n", "arpa:2: not a line"),
        (
            "\\data\\\nngram 1=4\n\\1-grams:\n-1 <s>\n-1 ▁A\n-1 CAT\n-1 FOO\n\\end\\\n",
            r"2 of 3 words are no tokens of this network, such as CAT: a model of words, or of other tokens",
        ),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, text: str, words: str) -> None:
    (tmp_path / "lm.arpa").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_arpa(tmp_path / "lm.arpa", PIECES)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_arpa(tmp_path / "none.arpa", PIECES)


def test_fusion_adds_the_weighted_score_of_the_language_model(model) -> None:
    """With room for every prefix, each score is its own plus the weight times that of the language model."""
    parts = search_parts(seed=5, scale=1.0)
    frames, _ = random_frames(1, 3, seed=5)
    lengths, limits = torch.tensor([3]), Limits(3, 2)
    plain = {tuple(one.tokens): one.score for one in search_frames(BeamSearch(*parts, 300, limits), frames, lengths)[0]}
    search = BeamSearch(*parts, 300, limits, Fusion([WeightedModel(model, 0.4)]))
    fused = search_frames(search, frames, lengths)[0]
    assert len(plain) == len(fused) == 1 + 6 + 36
    for one in fused:
        state, total = model.start(), 0.0
        for token in one.tokens:
            total += float(model.scores([state])[0, token])
            (state,) = model.advance([state], [token])
        expected = plain[tuple(one.tokens)] + 0.4 * (total + model.final([state])[0])
        assert one.score == pytest.approx(expected, abs=1e-3)


def test_the_share_of_words_that_are_no_tokens_is_said(tmp_path, caplog) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA, encoding="utf-8")
    read_arpa(tmp_path / "lm.arpa", PIECES)
    assert "lm.arpa: 1 of 4 words are no tokens of this network, such as OTHER: n-grams" in caplog.text


def test_a_damaged_archive_is_refused(tmp_path) -> None:
    packed = gzip.compress(ARPA.encode())
    for content in (packed[:40], packed[:20] + b"\xff\xff\xff\xff" + packed[24:], b"\xff\xfe" * 40):
        (tmp_path / "lm.arpa.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"lm\.arpa\.gz"):
            read_arpa(tmp_path / "lm.arpa.gz", PIECES)
