"""Which backends there are, which of them work here, and which one `auto` is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import torch

from dualtk.lattice.backends.base import Backend
from dualtk.lattice.backends.k2_backend import K2Backend
from dualtk.lattice.backends.numba_cpu import NumbaBackend
from dualtk.lattice.backends.torch_reference import TorchBackend
from dualtk.lattice.backends.torchaudio_backend import TorchaudioBackend
from dualtk.lattice.backends.triton_backend import TritonBackend

__all__ = ["Backend", "BackendStatus", "backends", "choose"]

log = logging.getLogger(__name__)

# In the order in which `auto` prefers them.
_BACKENDS: tuple[Backend, ...] = (K2Backend(), NumbaBackend(), TritonBackend(), TorchaudioBackend(), TorchBackend())


@dataclass(frozen=True)
class BackendStatus:
    """One line of `backends()`: a name, and why it cannot be used here (None: it can)."""

    name: str
    unusable: str | None


def backends() -> list[BackendStatus]:
    """List every backend, with the reason where one is not usable on this machine."""
    return [BackendStatus(backend.name, backend.unusable()) for backend in _BACKENDS]


def choose(name: str, device_type: str, dtype: torch.dtype) -> Backend:
    """Return the backend called `name`, or for "auto" the best that is usable for such tensors.

    Raises:
        ValueError: there is no such backend, or it cannot be used; says why.
    """
    if name == "auto":
        return _auto(device_type, dtype)
    for backend in _BACKENDS:
        if backend.name == name:
            reason = backend.unusable() or backend.unsuitable(device_type, dtype)
            if reason:
                raise ValueError(f"transducer backend {name}: {reason}")
            return backend
    raise ValueError(f"no transducer backend is called {name!r}; there are {[b.name for b in _BACKENDS]}")


@cache
def _auto(device_type: str, dtype: torch.dtype) -> Backend:
    """The choice is made, and logged, once for each kind of tensor."""
    usable = (b for b in _BACKENDS if not b.unusable() and not b.unsuitable(device_type, dtype))
    chosen = next(usable)
    log.info("transducer backend for %s on %s: %s", dtype, device_type, chosen.name)
    return chosen
