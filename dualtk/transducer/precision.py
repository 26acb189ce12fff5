"""Keeps autocast out of the losses: a sum of exponentials in bfloat16 would have two digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def without_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Run `forward(ctx, tensor, ...)` of an autograd function in the dtypes it is given, as its backward will be."""

    @wraps(forward)
    def run(ctx: Any, first: Tensor, *rest: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return forward(ctx, first, *rest)

    return run
