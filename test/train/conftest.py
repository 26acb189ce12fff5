"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import WORDS, write_set

from dualtk.data.tokens import TokenOptions, write_tokenizer


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data directories `train` and `dev`, and wordpieces `lang`."""
    folder = tmp_path_factory.mktemp("corpus")
    write_set(folder / "train", 24, seed=1)
    write_set(folder / "dev", 6, seed=2)
    lines = (folder / "train/text").read_text().splitlines()
    write_tokenizer(
        folder / "lang", [line.partition(" ")[2] for line in lines] + [" ".join(WORDS)], TokenOptions(size=26)
    )
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
