"""A language model over the tokens of a recogniser, for `dualtk decode --beam K --lm PATH`.

`--type ngram` estimates n-grams (modified Kneser-Ney) and writes an ARPA file. `--type lstm` and `--type transformer`
train a network and write a folder; the same command continues a run that was stopped. The perplexity of held-out
sentences is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.config import DEFAULT, validate_layered
from dualtk.data.tokens import Tokenizer
from dualtk.errors import InputError
from dualtk.files import atomic_path
from dualtk.lm.folder import SECTION
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

NGRAM = "ngram"
ORDER, LEAST = 6, [1, 1, 2]
EVERY = 20  # of the sentences is held out, where no others are given
LONGEST = 1 << 30  # tokens: n-grams need no sentence to be cut


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train-lm`."""
    options = argparse.ArgumentParser(prog="dualtk train-lm", description=__doc__)
    options.add_argument("--type", choices=[NGRAM, "lstm", "transformer"], help="default: ngram, or that of --config")
    options.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder of tokens of stage 2")
    options.add_argument("--out", type=Path, required=True, metavar="PATH", help="the ARPA file, or the folder")
    options.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help="Kaldi text: id and words")
    options.add_argument("--plain", type=Path, nargs="+", default=[], metavar="FILE", help="text, a sentence a line")
    options.add_argument(
        "--dev",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"Kaldi text that is held out; default: for a network every {EVERY}th sentence, for n-grams none",
    )
    options.add_argument("--dev-plain", type=Path, nargs="+", default=[], metavar="FILE", help="the same, a line each")
    ngrams = options.add_argument_group("n-grams")
    ngrams.add_argument("--order", type=at_least(1), metavar="N", help=f"longest n-grams; default: {ORDER}")
    ngrams.add_argument(
        "--least",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="occurrences that n-grams of length 1, 2, ... must have, the last for longer ones too; default: 1 1 2",
    )
    networks = options.add_argument_group("networks")
    networks.add_argument("--config", type=Path, metavar="YAML", help="what differs from the defaults")
    networks.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="change one value; may be repeated"
    )
    networks.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    networks.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's own choice"
    )
    networks.add_argument(
        "--override", action="store_true", help="continue although configuration or text changed (default: refuse)"
    )
    return options


def read_sentences(text: Iterable[Path], plain: Iterable[Path]) -> Iterator[str]:
    """The words of every sentence.

    Raises:
        InputError: a file that cannot be read.
    """
    for path in text:
        yield from read_table(path, ordered=False, empty_values=True).values()
    for path in plain:
        yield from filter(str.strip, read_lines(path))


def encoded(tokenizer: Tokenizer, sentences: Iterable[str], longest: int) -> Sentences:
    """The tokens of sentences, those of more than `longest` tokens cut."""
    return collect(((len(words.split()), tokenizer.encode(words)) for words in sentences), longest)


def estimate_ngrams(options: argparse.Namespace, tokenizer: Tokenizer) -> None:
    """Write an ARPA file."""
    for name in ("config", "set", "override"):
        if getattr(options, name):
            raise InputError(f"--{name}: is for networks, not for --type {NGRAM}")
    order, least = options.order or ORDER, options.least or LEAST
    if least != sorted(least):
        raise InputError(f"--least: {' '.join(map(str, least))}: longer n-grams may not need fewer occurrences")
    texts = [tokenizer.encode(words) for words in read_sentences(options.text, options.plain)]
    orders = NgramEstimator(texts, tokenizer.vocab_size, order).orders(least)
    with atomic_path(options.out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(arpa_lines(orders, tokenizer.pieces))
    counts = " ".join(str(len(one.keys)) for one in orders)
    logger.info("%s: n-grams of %d sentences by length: %s", options.out, len(texts), counts)
    if options.dev or options.dev_plain:
        held_out = encoded(tokenizer, read_sentences(options.dev, options.dev_plain), LONGEST)
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
    sentences = list(read_sentences(options.text, options.plain))
    if options.dev or options.dev_plain:
        held_out = list(read_sentences(options.dev, options.dev_plain))
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
    inputs = {"tokens": tokenizer.path, "text": _digest(train_set), "held-out text": _digest(valid_set)}
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


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `parser` for the options."""
    options = parser().parse_args(argv)
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


if __name__ == "__main__":
    sys.exit(run(main))
