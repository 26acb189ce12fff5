"""What runs: the one place that reads `backend=`.

There are four jobs. The recursion over the cells of a lattice can be given to several packages. The other three read
the vocabulary axis: from a joiner's inputs to the lattice, from logits to the lattice, and the divergence of two
joiners. They are compiled for some devices and dtypes, and plain torch for all others.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import cache, reduce

import torch

from dualtk.lattice.backends.base import Backend, JointEngine, KLEngine, Reduction
from dualtk.lattice.backends.k2_backend import K2Backend
from dualtk.lattice.backends.numba_backend import NumbaBackend
from dualtk.lattice.backends.torch_backend import TorchBackend
from dualtk.lattice.backends.torch_joint import TorchJoint, default_chunk
from dualtk.lattice.backends.torch_kl import TorchKL
from dualtk.lattice.backends.torch_logits import TorchReduction
from dualtk.lattice.backends.torchaudio_backend import TorchaudioBackend
from dualtk.lattice.backends.triton_backend import TritonBackend
from dualtk.lattice.inputs import JointInputs, Softening

log = logging.getLogger(__name__)

# In the order in which `auto` prefers them.
_BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (K2Backend(), NumbaBackend(), TritonBackend(), TorchaudioBackend(), TorchBackend())
}


@dataclass(frozen=True)
class BackendStatus:
    """One line of `list_backends()`: a name, and why it cannot be used here (None: it can)."""

    name: str
    unavailable_reason: str | None


def list_backends() -> list[BackendStatus]:
    """List every backend, with the reason where one is not usable on this machine."""
    return [BackendStatus(name, backend.unavailable_reason()) for name, backend in _BACKENDS.items()]


@dataclass(frozen=True)
class Engines:
    """What runs for each job, by the name of its package.

    Attributes:
        recursion: over the cells of a lattice.
        joint: from a joiner's inputs to the lattice.
        logits: from logits to the lattice.
        kl: the divergence of two joiners over every class; of the top k classes it is always torch's.
    """

    recursion: str
    joint: str
    logits: str
    kl: str

    def recursion_engine(self) -> Backend:
        """Runs the recursion."""
        return _BACKENDS[self.recursion]

    def joint_engine(self, inputs: JointInputs, chunk: int | None) -> JointEngine:
        """Computes the joint of `inputs`, with `chunk` cells at a time or as many as suit the device."""
        if self.joint == "numba":
            from dualtk.lattice.backends import numba_joint

            return numba_joint.NumbaJoint(chunk or numba_joint.default_chunk(inputs))
        if self.joint == "triton":
            from dualtk.lattice.backends.triton_logits import TritonRows

            return TorchJoint(chunk or default_chunk(inputs), TritonRows(), sparse=True)
        return TorchJoint(chunk or default_chunk(inputs))

    def logits_engine(self) -> Reduction:
        """Reduces logits to the lattice."""
        if self.logits == "numba":
            from dualtk.lattice.backends.numba_logits import NumbaReduction

            return NumbaReduction()
        if self.logits == "triton":
            from dualtk.lattice.backends.triton_logits import TritonReduction

            return TritonReduction()
        return TorchReduction()

    def kl_engine(self, student: JointInputs, softening: Softening, chunk: int | None) -> KLEngine:
        """Compares `student` with a teacher; chunks as in `joint_engine`."""
        if self.kl == "numba" and softening.every_class(student.vocabulary):
            from dualtk.lattice.backends import numba_joint, numba_kl

            return numba_kl.NumbaKL(softening.temperature, chunk or numba_joint.default_chunk(student))
        return TorchKL(softening, chunk or default_chunk(student))


def chosen_backend(backend: str, device_type: str, dtype: torch.dtype) -> dict[str, str]:
    """What `backend` means for tensors of `dtype` on `device_type`: the package of each job, as `Engines` lists them.

    Raises:
        ValueError: there is no such backend, or it cannot be used; says why.
    """
    return asdict(choose(backend, device_type, dtype))


def choose(backend: str, device_type: str, *dtypes: torch.dtype) -> Engines:
    """Decide what runs for tensors of these dtypes; "auto" gives each job the best that works here.

    Raises:
        ValueError: as `chosen_backend`.
    """
    return _choose(backend, device_type, frozenset(dtypes))


@cache
def _choose(backend: str, device_type: str, dtypes: frozenset[torch.dtype]) -> Engines:
    """The choice is made, and logged, once for each kind of tensor."""
    recursion = _choose_recursion(backend, device_type, reduce(torch.promote_types, dtypes, torch.float32))
    joint = logits = "torch"
    if recursion != "torch":
        if device_type == "cpu" and dtypes == {torch.float32} and not _BACKENDS["numba"].unavailable_reason():
            joint = logits = "numba"
        if device_type == "cuda" and torch.float64 not in dtypes and not _BACKENDS["triton"].unavailable_reason():
            joint = logits = "triton"
    engines = Engines(recursion, joint, logits, kl="numba" if joint == "numba" else "torch")
    kinds = ", ".join(sorted(map(str, dtypes)))
    jobs = ", ".join(f"{name} by {package}" for name, package in asdict(engines).items())
    log.info("transducer backend %s for %s on %s: %s", backend, kinds, device_type, jobs)
    return engines


def _choose_recursion(backend: str, device_type: str, dtype: torch.dtype) -> str:
    def problem(name: str) -> str | None:
        one = _BACKENDS[name]
        return one.unavailable_reason() or one.unsupported_reason(device_type, dtype)

    if backend == "auto":
        return next(name for name in _BACKENDS if not problem(name))
    if backend not in _BACKENDS:
        raise ValueError(f"no transducer backend is called {backend!r}; there are {list(_BACKENDS)}")
    if reason := problem(backend):
        raise ValueError(f"transducer backend {backend}: {reason}")
    return backend
