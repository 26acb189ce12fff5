"""A step of many streams as a graph that does nothing but the step.

The exporter writes the arithmetic of every size that depends on the number of streams into the graph: a third of 1,900
operators that onnxruntime ran in a step of 16 Conformer blocks. So the number is traced as a constant and given free
afterwards, where it stands first. And of what a stream remembers of its last frames the graph says only what is new:
the caller shifts, so that nothing is copied that has not changed.

Axes: N streams, W windows of one shape, K inner and M outer width of a product.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualtk.graphs.files import Graph, require_onnx, trace_onnx
from dualtk.graphs.rows import quantize_rows
from dualtk.graphs.runtime import fold_constants


@dataclass(frozen=True)
class Windows:
    """Inputs of one shape that hold the last frames, oldest first, of which the graph gives those that are new.

    Attributes:
        names: of the inputs.
        output: of the graph, the new frames of all of them: (W, N, ...).
        shape: of each for one stream.
        axis: of the frames in `shape`.
        num_new: frames that one step adds.
    """

    names: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    axis: int
    num_new: int


@dataclass(frozen=True)
class LeanGraph:
    """A graph over any number of streams.

    Attributes:
        model: its file.
        windows: inputs whose outputs are their new frames only.
        others: inputs whose outputs are all that they become, `new_` and their name.
    """

    model: bytes
    windows: tuple[Windows, ...]
    others: tuple[str, ...]


def lean_graph(graph: Graph, states: Sequence[str], *, is_quantized: bool) -> LeanGraph:
    """A graph of streams.

    Args:
        graph: its inputs and outputs have the streams first, of which its examples have some; `axes` is not read.
        states: inputs that come back as outputs `new_` and their name.
        is_quantized: products with weights are of 8 bits, with a scale for each row, so that no stream depends on
            another.
    """
    onnx = require_onnx()
    with tempfile.TemporaryDirectory() as folder:
        traced, folded = Path(folder, "traced.onnx"), Path(folder, "folded.onnx")
        trace_onnx(traced, graph)
        fold_constants(traced, folded)
        model = onnx.load(str(folded))
    shapes = _shapes(onnx, model)
    _free_streams(onnx, model, shapes)
    windows = tuple(_take_windows(onnx, model, states, shapes))
    if is_quantized:
        quantize_rows(onnx, model)
    _drop_unused(onnx, model)
    onnx.checker.check_model(model)
    moved = {name for group in windows for name in group.names}
    return LeanGraph(model.SerializeToString(), windows, tuple(name for name in states if name not in moved))


def constants(onnx: Any, model: Any) -> dict[str, Any]:
    """Of a folded graph, by name."""
    return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}


def _shapes(onnx: Any, model: Any) -> dict[str, list[int]]:
    """Of what a folded graph computes, by name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in values}


def _free_streams(onnx: Any, model: Any, shapes: Mapping[str, list[int]]) -> None:
    """The first axis of inputs and outputs may have any size, and reshapes take whatever it is."""
    known, graph = constants(onnx, model), model.graph
    for node in graph.node:
        if node.op_type == "Reshape" and (shape := shapes.get(node.output[0])):
            node.input[1] = f"{node.output[0]}_free"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, *shape[1:]]), node.input[1]))
        if node.op_type == "Concat":  # of what a mode has none, such as a left context of 0
            kept = [name for name in node.input if name not in known or known[name].size]
            del node.input[:]
            node.input.extend(kept)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del graph.value_info[:]


def _take_windows(onnx: Any, model: Any, states: Sequence[str], shapes: Mapping[str, list[int]]) -> Iterator[Windows]:
    """Replace outputs that are the end of an input with new frames behind it by those new frames."""
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    found: dict[tuple[tuple[int, ...], int, int], dict[str, str]] = {}
    for name in states:
        cut = made[f"new_{name}"]
        joined = made.get(cut.input[0]) if cut.op_type == "Slice" else None
        if joined is None or joined.op_type != "Concat" or len(joined.input) != 2 or joined.input[0] != name:
            continue
        axis, fresh = joined.attribute[0].i, joined.input[1]
        found.setdefault((tuple(shapes[name][1:]), axis - 1, shapes[fresh][axis]), {})[name] = fresh
    for number, ((shape, axis, num_new), new) in enumerate(found.items()):
        output = f"fresh{number}"
        _stack(onnx, graph, list(new.values()), output)
        sizes = [len(new), "N", *shape[:axis], num_new, *shape[axis + 1 :]]
        graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, sizes))
        kept = [one for one in graph.output if one.name not in {f"new_{name}" for name in new}]
        del graph.output[:]
        graph.output.extend(kept)
        yield Windows(tuple(new), output, shape, axis, num_new)


def _stack(onnx: Any, graph: Any, names: Sequence[str], output: str) -> None:
    """Nodes that make one tensor (W, ...) of W."""
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), f"{output}_axis"))
    rows = [f"{output}_{number}" for number in range(len(names))]
    for name, row in zip(names, rows):
        graph.node.append(onnx.helper.make_node("Unsqueeze", [name, f"{output}_axis"], [row]))
    graph.node.append(onnx.helper.make_node("Concat", rows, [output], axis=0))


def _drop_unused(onnx: Any, model: Any) -> None:
    """Nodes and constants that no output needs any more."""
    graph = model.graph
    needed, kept = {one.name for one in graph.output}, list[Any]()
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes, initializers = list(reversed(kept)), [one for one in graph.initializer if one.name in needed]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(initializers)
