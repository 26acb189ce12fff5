"""Products of 8 bits with a scale for each row of their input, in a graph of ONNX.

Dynamic quantisation (`quantize_dynamic` of onnxruntime) has one scale for the whole input: streams that step together
would round each other's numbers. Here each row, a frame of a stream, has its own, and each column of the weights too.

The input has 7 bits: on processors without VNNI the sums of pairs of products of 8 bits are cut off at 16.

Axes: ... rows, K inner and M outer width of a product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 63  # of the 7 bits
ZERO = 64  # the unsigned number that stands for 0
TINY = 1e-30  # instead of the scale of a column of zeros


def quantize_rows(onnx: Any, model: Any) -> None:
    """Replace every product with a constant matrix (K, M) in place."""
    graph = model.graph
    weights = {one.name: one for one in graph.initializer if len(one.dims) == 2}
    for name, value in (
        ("rows.largest", np.float32(LARGEST)),
        ("rows.one", np.float32(1.0)),
        ("rows.zero", np.uint8(ZERO)),
    ):
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    nodes, rounded = list[Any](), set[str]()
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            nodes.append(node)
            continue
        source, weight = node.input
        if source not in rounded:
            nodes += _round_rows(onnx, source)
            rounded.add(source)
        nodes += _product(onnx, graph, source, weights[weight], node.output[0])
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(one.domain == "com.microsoft" for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def _round_rows(onnx: Any, source: str) -> list[Any]:
    """(..., K) -> `source.rounded` (..., K) of 7 bits, and `source.scale` (..., 1), the largest number of each row.

    Of a row of zeros the factor is infinite, and what it makes of zeros is multiplied by the scale 0 in the end.
    """
    make = onnx.helper.make_node
    return [
        make("Abs", [source], [f"{source}.size"]),
        make("ReduceMax", [f"{source}.size"], [f"{source}.scale"], axes=[-1], keepdims=1),
        make("Div", ["rows.largest", f"{source}.scale"], [f"{source}.factor"]),
        make("Mul", [source, f"{source}.factor"], [f"{source}.scaled"]),
        make("QuantizeLinear", [f"{source}.scaled", "rows.one", "rows.zero"], [f"{source}.rounded"]),
    ]


def _product(onnx: Any, graph: Any, source: str, weight: Any, output: str) -> list[Any]:
    """`source` (..., K) times the weight (K, M) -> (..., M)."""
    make, matrix = onnx.helper.make_node, onnx.numpy_helper.to_array(weight)
    name, columns = weight.name, np.maximum(np.abs(matrix).max(0), TINY) / 127
    known = {one.name for one in graph.initializer}
    if f"{name}.rounded" not in known:
        rounded = np.round(matrix / columns).astype(np.int8)
        graph.initializer.append(onnx.numpy_helper.from_array(rounded, f"{name}.rounded"))
        scales = (columns / LARGEST).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(scales, f"{name}.scales"))
    return [
        make(
            "MatMulIntegerToFloat",
            [f"{source}.rounded", f"{name}.rounded", "rows.one", f"{name}.scales", "rows.zero"],
            [f"{output}.unscaled"],
            domain="com.microsoft",
        ),
        make("Mul", [f"{output}.unscaled", f"{source}.scale"], [output]),
    ]
