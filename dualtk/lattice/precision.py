"""Keeps autocast out of the losses: a sum of exponentials in bfloat16 would have two digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def without_autocast(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run `method(ctx, tensor, ...)` of an autograd function, forward or backward, in the dtypes it is given."""

    @wraps(method)
    def run(ctx: Any, first: Tensor, *rest: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return method(ctx, first, *rest)

    return run
