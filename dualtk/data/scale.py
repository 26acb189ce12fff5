"""Whether log-mel features have the scale of those that a network is normalised with.

Where no file tells how features were made, their mean does: features of samples in the range of 16 bits, as Kaldi takes
them, are 20.8 above those of the same samples in [-1, 1]. F features.
"""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from torch import Tensor

from dualtk.data.batches import UnreadError
from dualtk.data.dataset import FeatureDataset
from dualtk.errors import InputError

SIXTEEN_BITS = 2 * math.log(32768)  # by which 32,768 times the amplitude raises the logarithm of a power
LARGEST = 13.0  # 56 dB: between recordings that differ in nothing but level there is less
UTTERANCES = 20  # whose mean is taken for that of all


def require_scale(dataset: FeatureDataset, mean: Tensor, source: str) -> None:
    """Refuse log-mel features whose mean is far from the `mean` (F,) that they would be normalised with.

    Args:
        dataset: the features.
        mean: of the features that a network was made for.
        source: the file that it comes from, for the error.

    Raises:
        InputError: names both files and both means.
    """
    step = max(1, len(dataset) // UTTERANCES)
    readable = []
    for index in range(0, len(dataset), step):
        with suppress(UnreadError):  # whoever reads all of them says so
            readable.append(dataset[index].feats)
    if not readable:
        return
    feats = torch.cat(readable)
    compare_means(feats.mean(0), mean, str(dataset.directory / "feats.scp"), source)


def compare_means(own: Tensor, other: Tensor, where: str, source: str) -> None:
    """Refuse two means (F,) of log-mel features that no level of speech explains; `where` and `source` are their files.

    Raises:
        InputError: names both files and both means.
    """
    one, two = float(own.mean()), float(other.mean())
    if not math.isfinite(one - two) or abs(one - two) <= LARGEST:  # what is no number is for others to refuse
        return
    apart = abs(one - two)
    why = "one of them was made of samples in the range of 16 bits, the other of samples in [-1, 1]"
    hint = f": {why}" if abs(apart - SIXTEEN_BITS) < SIXTEEN_BITS - LARGEST else ""
    raise InputError(f"{where}: the mean of its features is {one:.1f}, that of {source} is {two:.1f}{hint}")
