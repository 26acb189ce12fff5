"""What `dualtk train-lm` does: n-grams are counted, networks trained."""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from dualtk.config import DEFAULT, validate_layered
from dualtk.data.tokens import Tokenizer, require_known
from dualtk.errors import InputError
from dualtk.files import atomic_path, require_own
from dualtk.lm.folder import SECTION
from dualtk.lm_training.defaults import EVERY, LEAST, NGRAM, ORDER
from dualtk.lm_training.loop import LanguageModelTrainer
from dualtk.lm_training.options import LanguageModelSystem
from dualtk.lm_training.perplexity import model_perplexity
from dualtk.lm_training.sentences import Sentences, collect
from dualtk.search.kneser_ney import NgramEstimator, arpa_lines
from dualtk.search.language_model import read_arpa
from dualtk.tables import read_lines, read_table
from dualtk.train.experiment import Experiment, Origin
from dualtk.train.stopping import Interrupted, status_of, stoppable
from dualtk.yaml_tree import Layer, Layered, read_layers

logger = logging.getLogger("dualtk")

ARPA = "\\data\\"  # how an ARPA file begins
LONGEST = 1 << 30  # tokens: n-grams need no sentence to be cut


def read_sentences(text: Iterable[Path], plain: Iterable[Path], tokenizer: Tokenizer, most: float) -> Iterator[str]:
    """The words of every sentence.

    Raises:
        InputError: a file that cannot be read, or one of whose words more than `most` percent become `<unk>`.
    """
    for path in text:
        sentences = read_table(path, ordered=False, empty_values=True)
        require_known(path, tokenizer.unknown_in(sentences.items()), most)
        yield from sentences.values()
    for path in plain:
        lines = {f"line {number}": line for number, line in enumerate(read_lines(path), start=1) if line.strip()}
        require_known(path, tokenizer.unknown_in(lines.items()), most)
        yield from lines.values()


def encoded(tokenizer: Tokenizer, sentences: Iterable[str], longest: int) -> Sentences:
    """The tokens of sentences, those of more than `longest` tokens cut."""
    return collect(((len(words.split()), tokenizer.encode(words)) for words in sentences), longest)


def estimate_ngrams(options: argparse.Namespace, tokenizer: Tokenizer) -> None:
    """Write an ARPA file."""
    for name in ("config", "set", "override"):
        if getattr(options, name):
            raise InputError(f"--{name}: is for networks, not for --type {NGRAM}")
    require_own(options.out, ARPA, "ARPA file")
    order, least = options.order or ORDER, options.least or LEAST
    if least != sorted(least):
        raise InputError(f"--least: {' '.join(map(str, least))}: longer n-grams may not need fewer occurrences")
    most = options.max_unknown
    texts = [tokenizer.encode(words) for words in read_sentences(options.text, options.plain, tokenizer, most)]
    orders = NgramEstimator(texts, tokenizer.vocab_size, order).orders(least)
    with atomic_path(options.out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(arpa_lines(orders, tokenizer.pieces))
    counts = " ".join(str(len(one.keys)) for one in orders)
    logger.info("%s: n-grams of %d sentences by length: %s", options.out, len(texts), counts)
    if options.dev or options.dev_plain:
        held_out = encoded(tokenizer, read_sentences(options.dev, options.dev_plain, tokenizer, most), LONGEST)
        logger.info("held out: %s", model_perplexity(read_arpa(options.out, tokenizer.pieces), held_out))


def read_system(options: argparse.Namespace) -> LanguageModelSystem:
    """The network and its training.

    Raises:
        InputError: a key at fault, or a --type that is not that of --config.
    """
    layered = Layered()
    layered.lay(Layer(DEFAULT, {"schedule": {"name": "cosine"}}))  # so that its values can be changed alone
    if options.type is not None:
        layered.lay(Layer(f"--type {options.type}", {SECTION: {"name": options.type}}))
    for layer in [] if options.config is None else read_layers(options.config):
        layered.lay(layer)
    for override in options.set:
        layered.change(override)
    system = validate_layered(LanguageModelSystem, layered)
    if options.type not in (None, system.language_model.name):
        raise InputError(f"--type {options.type}: the configuration says {system.language_model.name}")
    return system


def divide(options: argparse.Namespace, tokenizer: Tokenizer, longest: int) -> tuple[Sentences, Sentences]:
    """What is trained on, and what is held out.

    Raises:
        InputError: one of them is empty.
    """
    most = options.max_unknown
    sentences = list(read_sentences(options.text, options.plain, tokenizer, most))
    if options.dev or options.dev_plain:
        held_out = list(read_sentences(options.dev, options.dev_plain, tokenizer, most))
    else:
        held_out = sentences[EVERY - 1 :: EVERY]
        sentences = [words for index, words in enumerate(sentences, start=1) if index % EVERY]
        if not held_out:
            raise InputError(f"--dev: of {len(sentences)} sentences none can be held out: name others")
    return encoded(tokenizer, sentences, longest), encoded(tokenizer, held_out, longest)


def train_network(options: argparse.Namespace, tokenizer: Tokenizer) -> int:
    """Train in the folder, which nobody else writes to; returns the exit status."""
    for name in ("order", "least"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name}: is for --type {NGRAM}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is none")
    device = torch.device("cpu" if options.device == "cpu" or not torch.cuda.is_available() else "cuda")
    if options.threads:
        torch.set_num_threads(options.threads)
    system = read_system(options)
    train_set, valid_set = divide(options, tokenizer, system.train.max_sentence_tokens)
    torch.manual_seed(system.train.seed)
    network = system.language_model.build(tokenizer.vocab_size).to(device)
    experiment = Experiment(options.out)
    folder = tokenizer.path.parent
    inputs: dict[str, Path | str] = {
        "tokens": tokenizer.path,
        "text": _digest(train_set),
        "held-out text": _digest(valid_set),
    }
    assets = {f"lang/{name}": folder / name for name in (tokenizer.path.name, "bpe.vocab", "tokens.txt")}
    with stoppable() as stopping, experiment.held():
        experiment.start({"": system}, Origin(inputs, assets=assets), options.override)
        count = sum(parameter.numel() for parameter in network.parameters())
        sizes = len(train_set), len(train_set.tokens), len(valid_set)
        logger.info("%d parameters; %d sentences of %d tokens, %d held out", count, *sizes)
        number = LanguageModelTrainer(network, system, train_set, valid_set, experiment, stopping).train()
    if number is not None:
        return status_of(number)
    logger.info("%s: trained", options.out)
    return 0


def _digest(sentences: Sentences) -> str:
    total = hashlib.sha256(sentences.starts.data)
    total.update(sentences.tokens.data)
    return total.hexdigest()


def train(options: argparse.Namespace) -> int:
    """Train what the options ask for; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    tokenizer = Tokenizer(options.tokens)
    if options.type == NGRAM or (options.type is None and options.config is None):
        estimate_ngrams(options, tokenizer)
        return 0
    try:
        return train_network(options, tokenizer)
    except Interrupted as error:
        print(f"dualtk: {error}: ended before the first step", file=sys.stderr)
        return error.status
