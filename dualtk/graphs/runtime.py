"""Graphs by onnxruntime: the only file that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualtk.extras import extra

Array = NDArray[Any]


def fold_constants(source: Path, target: Path) -> None:
    """Write the graph `source` with everything computed in it that does not depend on its inputs."""
    with extra("export"):
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    # This one would put what it adds to a product into it, between two reshapes to matrices.
    onnxruntime.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )


class Session:
    """A graph, on one thread; any number of threads may call it at once.

    Args:
        graph: its file, or the bytes of one.
    """

    def __init__(self, graph: Path | bytes) -> None:
        with extra("export"):
            import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # one would be kept for each number of streams
        source = str(graph) if isinstance(graph, Path) else graph
        self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.names = [one.name for one in self.inputs]
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map

    def start(self) -> list[Array]:
        """The state of one stream before anything came: zeros for all inputs after the first."""
        shapes = ([size if isinstance(size, int) else 1 for size in one.shape] for one in self.inputs[1:])
        return [np.zeros(shape, np.float32) for shape in shapes]

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Inputs by name -> outputs in the order of their names."""
        values: list[Array] = self.session.run(outputs, inputs)
        return values

    def __call__(self, *values: Array) -> list[Array]:
        """Values of the inputs in their order -> those of the outputs."""
        outputs: list[Array] = self.session.run(None, dict(zip(self.names, values)))
        return outputs
