"""Modified Kneser-Ney against its equations on dictionaries, and as a distribution in the search's own reader."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dualtk.bin import train_lm
from dualtk.bin.dualtk import run
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.errors import InputError
from dualtk.search.kneser_ney import NgramEstimator, Order, arpa_lines
from dualtk.search.language_model import read_arpa

VOCABULARY = 8  # blank and seven tokens, of which the text has six
PIECES = ["<blk>", *"abcdefg"]
START, END = VOCABULARY, VOCABULARY + 1


def text(sentences: int = 400, seed: int = 0) -> list[list[int]]:
    """Sentences in which tokens depend on the two before them."""
    generator = random.Random(seed)
    found = []
    for _ in range(sentences):
        sentence = [generator.randint(1, 6)]
        while generator.random() < 0.85:
            before = sum(sentence[-2:])
            sentence.append(1 + (before + (generator.random() < 0.4) * generator.randint(0, 5)) % 6)
        found.append(sentence)
    return found


class Equations:
    """p(w | h) of Chen and Goodman, section 3, by recursion over dictionaries."""

    def __init__(self, sentences: Sequence[Sequence[int]], order: int) -> None:
        self.order = order
        raw: Counter[tuple[int, ...]] = Counter()
        for sentence in sentences:
            padded = (START, *sentence, END)
            for n in range(1, order + 1):
                raw.update(padded[i : i + n] for i in range(len(padded) - n + 1))
        raw.pop((START,))
        self.counts = dict(raw)
        for ngram in raw:
            if len(ngram) < order and ngram[0] != START:
                self.counts[ngram] = sum((before, *ngram) in raw for before in range(END + 1))
        self.discounts = {n: self._discounts(n) for n in range(1, order + 1)}

    def _discounts(self, n: int) -> list[float]:
        """Of counts 1, 2, and 3 or more; KenLM's fixed ones where these are not above 0 and below the count."""
        times = Counter(count for ngram, count in self.counts.items() if len(ngram) == n)
        if 0 in (times[1], times[2], times[3]):
            return [0.0, 0.5, 1.0, 1.5]
        y = times[1] / (times[1] + 2 * times[2])
        found = [k - (k + 1) * y * times[k + 1] / times[k] for k in (1, 2, 3)]
        return [0.0] + [one if 0 < one < k else k / 2 for k, one in enumerate(found, start=1)]

    def __call__(self, token: int, context: tuple[int, ...]) -> float:
        if not context:
            shorter = 1 / VOCABULARY  # seven tokens and </s>
        else:
            shorter = self(token, context[1:])
        after = {one: self.counts.get((*context, one), 0) for one in [*range(1, VOCABULARY), END]}
        total = sum(after.values())
        if not total:
            return shorter
        discounts = self.discounts[len(context) + 1]
        own = max(0.0, after[token] - discounts[min(3, after[token])])
        taken = sum(discounts[min(3, count)] for count in after.values())
        return own / total + taken / total * shorter


def probability(orders: Sequence[Order], token: int, context: tuple[int, ...]) -> float:
    """As an ARPA file is read: the longest n-gram there is, and the weights of the contexts that were shortened."""

    def find(ngram: tuple[int, ...]) -> tuple[float, float] | None:
        one = orders[len(ngram) - 1]
        key = 0
        for digit in ngram:
            key = key * (VOCABULARY + 2) + digit
        place = int((one.keys < key).sum())
        there = place < len(one.keys) and one.keys[place] == key
        return (one.log_probs[place], one.backoffs[place]) if there else None

    weight = 0.0
    while (found := find((*context, token))) is None:
        known = find(context)
        weight += known[1] if known else 0.0
        context = context[1:]
    return 10.0 ** (found[0] + weight)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_equations(order: int) -> None:
    sentences = text()
    orders, equations = NgramEstimator(sentences, VOCABULARY, order).orders(), Equations(sentences, order)
    for context in itertools.product(range(1, VOCABULARY + 1), repeat=order - 1):
        if START not in context[1:]:
            for token in [*range(1, VOCABULARY), END]:
                assert probability(orders, token, context) == pytest.approx(equations(token, context), rel=1e-9)


@pytest.mark.parametrize("least", [[1], [1, 1, 3], [1, 2, 5]])
def test_every_context_sums_to_one_for_the_reader_too(least: list[int], tmp_path: Path) -> None:
    """Pruned or not: tokens and the end of the sentence, after contexts that the text has and has not."""
    orders = NgramEstimator(text(), VOCABULARY, 4).orders(least)
    path = tmp_path / "lm.arpa"
    path.write_text("".join(arpa_lines(orders, PIECES)))
    model = read_arpa(path, PIECES)
    for context in itertools.product(range(1, VOCABULARY), repeat=3):
        state = model.start()
        for token in context:
            (state,) = model.advance([state], [token])
        total = model.scores([state])[0, 1:].exp().sum().item() + math.exp(model.final([state])[0])
        assert total == pytest.approx(1.0, abs=2e-5)


def test_a_longer_context_predicts_its_text_better() -> None:
    sentences, held_out = text(), text(100, seed=1)
    entropies = []
    for order in (1, 2, 3):
        orders = NgramEstimator(sentences, VOCABULARY, order).orders()
        total = 0.0
        for sentence in held_out:
            padded = (START, *sentence, END)
            for i in range(1, len(padded)):
                total -= math.log(probability(orders, padded[i], padded[max(0, i - order + 1) : i]))
        entropies.append(total)
    assert entropies[0] > entropies[1] > 1.05 * entropies[2]


def test_what_cannot_be_estimated() -> None:
    with pytest.raises(InputError, match="n-grams may be 4 long at most"):
        NgramEstimator(text(2), 30000, 5)
    with pytest.raises(InputError, match="there is none"):
        NgramEstimator([], VOCABULARY, 2)


def test_the_command_writes_what_a_beam_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ONE TWO", "TWO THREE ONE", "THREE TWO"] * 5
    write_tokenizer(tmp_path / "lang", words, TokenOptions(size=16))
    (tmp_path / "text").write_text("".join(f"u{index:02d} {one}\n" for index, one in enumerate(words)))
    (tmp_path / "plain").write_text("ONE ONE\n\nTWO TWO\n")
    files = ["--text", str(tmp_path / "text"), "--plain", str(tmp_path / "plain")]
    arguments = ["--tokens", str(tmp_path / "lang"), *files, "--order", "3", "--out", str(tmp_path / "lm.arpa")]
    assert run(train_lm.main, arguments) == 0
    pieces = [line.split()[0] for line in (tmp_path / "lang/tokens.txt").read_text(encoding="utf-8").splitlines()]
    model = read_arpa(tmp_path / "lm.arpa", pieces)
    assert torch.isfinite(model.scores([model.start()])).all()
    assert run(train_lm.main, [*arguments, "--least", "2", "1"]) == 2
    assert "may not need fewer occurrences" in capsys.readouterr().err
