"""The step of an encoder, made fast for one mode on a CPU: traced, frozen, and where wanted with 8-bit weights.

A step of a few frames is bound by reading the weights and by the overhead of some thousand small operators. Tracing
takes Python out of it, and what does not depend on the input (projected positions, which norm) is computed once.
No compiler is needed at run time.

Shapes: B streams, C output frames of a chunk, F features, D width.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dualtk.encoders.base import Encoder, State
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.nn.blocks import SelfAttention
from dualtk.nn.masked import MaskedLinear

Precision = Literal["float32", "int8"]


class _PlainStep(nn.Module):
    """`encoder.step` as a function of tensors only, in the order of `names`."""

    def __init__(self, encoder: Encoder, mode: Mode, names: list[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.mode = mode
        self.names = names

    def forward(self, chunk: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        frames, state = self.encoder.step(chunk, dict(zip(self.names, values)), self.mode)
        return (frames, *(state[name] for name in self.names))


class _Constant(nn.Module):
    """A layer whose input never changes."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: Tensor, mode: Mode | None = None) -> Tensor:
        value: Tensor = self.get_buffer("value")
        return value


class _QuantizedLinear(nn.Module):
    """A linear layer with weights of 8 bits, one scale for each output; the input is quantised when it comes."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        weight = weight.detach().float()
        scales = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        packed = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(packed, None if bias is None else bias.detach().float())

    def forward(self, x: Tensor, mode: Mode | None = None) -> Tensor:
        # 7 bits for the input: without VNNI, products of 8 bits would overflow where they are added in pairs.
        output: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, True)
        return output


def _replace(module: nn.Module, choose: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace every layer below `module` for which `choose` has another."""
    for name, child in module.named_children():
        other = choose(child)
        if other is None:
            _replace(child, choose)
        else:
            setattr(module, name, other)


def fix_positions(encoder: nn.Module, run: Callable[[], object]) -> None:
    """Replace projections of relative positions, whose input depends on the mode only, by what they give."""
    found: dict[nn.Module, Tensor] = {}
    layers = [one for one in encoder.modules() if isinstance(one, SelfAttention) and one.positions == "relative"]
    hooks = [
        layer.position.register_forward_hook(lambda module, _, output: found.update({module: output}))
        for layer in layers
    ]
    run()
    for layer, hook in zip(layers, hooks):
        hook.remove()
        setattr(layer, "position", _Constant(found[layer.position]))  # noqa: B010 (typed as a linear layer)


def compile_step(
    encoder: Encoder, mode: Mode, precision: Precision = "float32"
) -> Callable[[Tensor, State], tuple[Tensor, State]]:
    """What `encoder.step` does in `mode`, for any number of streams at once.

    Args:
        encoder: in eval mode, on a CPU; it is copied.
        mode: a streaming mode with bounded left context: with an unbounded one the state has no constant shape.
        precision: float32 gives the same frames; int8 quantises the weights of linear layers, which costs some
            accuracy and about halves the time.

    Raises:
        InputError: unbounded left context.
    """
    if mode.left_context is None:
        raise InputError(f"mode {mode.name}: a compiled step needs a bounded left_context")
    assert isinstance(encoder, nn.Module)
    own = copy.deepcopy(encoder).eval().requires_grad_(False)
    assert isinstance(own, nn.Module)
    state = encoder.init_state(2, mode)
    chunk = torch.zeros(2, mode.chunk * encoder.subsampling, encoder.input_dim)
    plain = _PlainStep(own, mode, list(state))

    def quantized(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, MaskedLinear):
            mask = layer.mask(mode.name) if mode.sparsity > 0 else None
            return _QuantizedLinear(layer.weight if mask is None else layer.weight * mask, layer.bias)
        return _QuantizedLinear(layer.weight, layer.bias) if type(layer) is nn.Linear else None

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that a trace holds constant are constant here
        fix_positions(own, lambda: plain(chunk, *state.values()))
        if precision == "int8":
            _replace(own, quantized)
        trace: Any = torch.jit.trace  # has no types
        traced = torch.jit.freeze(trace(plain.eval(), (chunk, *state.values()), check_trace=False))

    def step(chunk: Tensor, state: State) -> tuple[Tensor, State]:
        frames, *values = traced(chunk, *(state[name] for name in plain.names))
        return frames, dict(zip(plain.names, values))

    return step


def streaming_speed(encoder: Encoder, mode: Mode, precision: Precision, seconds: float = 4.0) -> float:
    """Time over audio of a compiled step, one stream, one thread; the better of two rounds of `seconds` of audio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    step = compile_step(encoder, mode, precision)
    chunk = torch.zeros(1, mode.chunk * encoder.subsampling, encoder.input_dim)
    steps = round(seconds / (chunk.shape[1] * FRAME_SECONDS)) + 1
    times = []
    with torch.inference_mode():
        for _ in range(3):  # the first warms up
            state = encoder.init_state(1, mode)
            began = time.monotonic()
            for _ in range(steps):
                _, state = step(chunk, state)
            times.append((time.monotonic() - began) / (steps * chunk.shape[1] * FRAME_SECONDS))
    torch.set_num_threads(threads)
    return min(times[1:])
