"""The transducer: one lattice, and the losses, joints and backends that meet there.

This part needs only torch, numpy and numba.
"""

from dualtk.transducer.backends import BackendStatus, backends
from dualtk.transducer.backends.base import Occupation
from dualtk.transducer.joint import JointInputs, joint_lattice
from dualtk.transducer.joint_kl import Softening, joint_kl
from dualtk.transducer.lattice import Lattice, ScoredLattice
from dualtk.transducer.logits import logits_lattice
from dualtk.transducer.loss import SimpleLoss, rnnt_loss, rnnt_loss_pruned, rnnt_loss_simple
from dualtk.transducer.ranges import prune_ranges, prune_ranges_shared
from dualtk.transducer.simple import simple_lattice
from dualtk.transducer.three_way import ThreeWay, three_way

__all__ = [
    "BackendStatus",
    "JointInputs",
    "Lattice",
    "Occupation",
    "ScoredLattice",
    "SimpleLoss",
    "Softening",
    "ThreeWay",
    "backends",
    "joint_kl",
    "joint_lattice",
    "logits_lattice",
    "prune_ranges",
    "prune_ranges_shared",
    "rnnt_loss",
    "rnnt_loss_pruned",
    "rnnt_loss_simple",
    "simple_lattice",
    "three_way",
]
