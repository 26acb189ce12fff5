"""The transducer losses as functions of logits; each is a lattice and its `loss`.

Axes: B batch, T frames, U labels, S prune range, V vocabulary.
"""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from dualtk.lattice.lattice import ScoredLattice
from dualtk.lattice.logits import logits_lattice
from dualtk.lattice.simple import simple_lattice


def rnnt_loss(
    logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    *,
    backend: str = "auto",
    fastemit_lambda: float = 0.0,
    delay_penalty: float = 0.0,
) -> Tensor:
    """Exact transducer loss (Graves 2012); a drop-in for `torchaudio.functional.rnnt_loss`.

    Args:
        logits: (B, T, U + 1, V) unnormalised.
        targets: (B, U) labels.
        logit_lengths: (B,).
        target_lengths: (B,).
        blank: class of blank; a negative one counts from the end of the vocabulary.
        reduction: "none", "sum" or "mean".
        backend: a name from `list_backends()` or "auto".
        fastemit_lambda: see `Lattice.loss`.
        delay_penalty: see `Lattice.delayed`.

    Raises:
        InputError: shapes do not fit, or a label or length is impossible; names the argument or the utterance.
    """
    lattice = logits_lattice(logits, targets, logit_lengths, target_lengths, blank, backend=backend)
    return lattice.loss(reduction, fastemit_lambda=fastemit_lambda, delay_penalty=delay_penalty, backend=backend)


def rnnt_loss_pruned(
    logits: Tensor,
    targets: Tensor,
    ranges: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    *,
    backend: str = "auto",
    fastemit_lambda: float = 0.0,
    delay_penalty: float = 0.0,
) -> Tensor:
    """Transducer loss over the cells in `ranges` (B, T, S) alone (Kuang et al. 2022); logits (B, T, S, V)."""
    lattice = logits_lattice(logits, targets, logit_lengths, target_lengths, blank, ranges, backend=backend)
    return lattice.loss(reduction, fastemit_lambda=fastemit_lambda, delay_penalty=delay_penalty, backend=backend)


@overload
def rnnt_loss_simple(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = ...,
    *,
    lm_scale: float = ...,
    am_scale: float = ...,
    delay_penalty: float = ...,
    fastemit_lambda: float = ...,
    reduction: str = ...,
    backend: str = ...,
    return_occupation: Literal[False] = ...,
) -> Tensor: ...


@overload
def rnnt_loss_simple(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = ...,
    *,
    lm_scale: float = ...,
    am_scale: float = ...,
    delay_penalty: float = ...,
    fastemit_lambda: float = ...,
    reduction: str = ...,
    backend: str = ...,
    return_occupation: Literal[True],
) -> ScoredLattice: ...


def rnnt_loss_simple(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    *,
    lm_scale: float = 0.0,
    am_scale: float = 0.0,
    delay_penalty: float = 0.0,
    fastemit_lambda: float = 0.0,
    reduction: str = "mean",
    backend: str = "auto",
    return_occupation: bool = False,
) -> Tensor | ScoredLattice:
    """Loss of the additive joint am (B, T, V) + lm (B, U + 1, V), exact without a 4-D tensor; see `simple_lattice`.

    With `return_occupation` the posteriors of the same recursion come along, as `prune_ranges` needs them.
    """
    lattice = simple_lattice(
        am, lm, targets, logit_lengths, target_lengths, blank, lm_scale=lm_scale, am_scale=am_scale
    )
    scored = lattice.score(reduction, fastemit_lambda=fastemit_lambda, delay_penalty=delay_penalty, backend=backend)
    return scored if return_occupation else scored.loss
