"""The transducer: one lattice, and the losses, joints and backends that meet there.

This part needs only torch, numpy and numba.
"""

from dualtk.lattice.backends.base import Occupation
from dualtk.lattice.engines import BackendStatus, chosen_backend, list_backends
from dualtk.lattice.inputs import JointInputs, Softening
from dualtk.lattice.joint import joint_lattice
from dualtk.lattice.joint_kl import joint_kl
from dualtk.lattice.lattice import Lattice, ScoredLattice
from dualtk.lattice.logits import logits_lattice
from dualtk.lattice.loss import rnnt_loss, rnnt_loss_pruned, rnnt_loss_simple
from dualtk.lattice.ranges import prune_ranges, prune_ranges_shared
from dualtk.lattice.simple import simple_lattice
from dualtk.lattice.three_way import ThreeWay, three_way, visits

__all__ = [
    "BackendStatus",
    "JointInputs",
    "Lattice",
    "Occupation",
    "ScoredLattice",
    "Softening",
    "ThreeWay",
    "chosen_backend",
    "joint_kl",
    "joint_lattice",
    "list_backends",
    "logits_lattice",
    "prune_ranges",
    "prune_ranges_shared",
    "rnnt_loss",
    "rnnt_loss_pruned",
    "rnnt_loss_simple",
    "simple_lattice",
    "three_way",
    "visits",
]
