"""A pass at the joiner's door, as the reductions over the vocabulary read it.

Axes: B batch, T frames, U labels, S cells of a frame.
"""

from __future__ import annotations

from torch import Tensor

from dualtk.transducer.joint import JointInputs, joint_lattice
from dualtk.transducer.lattice import Lattice
from dualtk.transducer.model import Pass


def joint_inputs(run: Pass) -> JointInputs:
    """What the joiner of a pass reads."""
    output = run.joiner.output
    return JointInputs(
        run.joiner.encoder(run.encoded.frames),
        run.joiner.predictor(run.predicted),
        None if output is None else output.weight,
        None if output is None else output.bias,
        run.joiner.activation,
    )


def lattice_on(run: Pass, targets: Tensor, target_lengths: Tensor, ranges: Tensor | None) -> Lattice:
    """The lattice of a pass over targets (B, U), whole or on `ranges` (B, T, S)."""
    inputs = joint_inputs(run)
    return joint_lattice(
        inputs.encoder,
        inputs.predictor,
        inputs.weight,
        inputs.bias,
        targets,
        run.encoded.lengths,
        target_lengths,
        ranges=ranges,
        activation=inputs.activation,
    )
