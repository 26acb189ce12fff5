"""What the autograd functions of the losses have in common.

torch.compile calls them as they stand, autocast stays out of their sums, and a second derivative is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def without_autocast(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run `method(ctx, tensor, ...)` of an autograd function in the dtypes it is given.

    A sum of exponentials in bfloat16 would have two digits.
    """

    @wraps(method)
    def run(ctx: Any, first: Tensor, *rest: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return method(ctx, first, *rest)

    return run


def entry_point(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply`, which torch.compile does not look into.

    Traced, a backward that fills its result row by row gave zeros, and kernels of other compilers are opaque anyway.
    """
    apply: Callable[..., Any] = function.apply
    compiler = getattr(torch, "compiler", None)
    if compiler is None:  # a torch that cannot compile
        return apply

    def call(*args: Any) -> Any:
        if "torch._dynamo" in sys.modules:  # only then can anyone be compiling; importing it takes a second
            return compiler.disable(apply)(*args)
        return apply(*args)

    return call


def first_derivative(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Run `backward(ctx, grad, ...)` in the dtypes of its forward, and refuse to be part of a graph.

    torch's `once_differentiable` is not enough: where the incoming gradient is a constant, as after `loss.backward()`,
    it lets second derivatives be zero without a word.
    """
    plain = without_autocast(backward)

    @wraps(backward)
    def run(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("transducer losses have no second derivative: their backward refuses create_graph=True")
        return plain(ctx, *grads)

    return run
