"""From a module to an ONNX file in the precision that is asked for: the only file that imports onnx.

TorchScript's exporter is used: it writes LSTM layers as one node each, in files that the oldest runtimes in use load.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dualtk.extras import extra

Precision = Literal["float32", "int8", "float16"]
OPSET = 17


@dataclass(frozen=True)
class Graph:
    """A module with examples of its inputs.

    Attributes:
        module: a function of tensors.
        inputs: by name, in the order of its arguments.
        outputs: names of what it returns.
        axes: of every input and output, the names of axes whose size may change.
        metadata: that the file carries.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    axes: Mapping[str, Mapping[int, str]]
    metadata: Mapping[str, object]


def require_onnx() -> Any:
    """The package `onnx`, where `onnxruntime` is there too.

    Raises:
        InputError: says what to install.
    """
    with extra("export"):
        import onnx
        import onnxruntime  # noqa: F401
    return onnx


def trace_onnx(path: Path, graph: Graph) -> None:
    """What the exporter makes of a module, in float32; sizes that are not among the axes are constants."""
    export: Any = torch.onnx.export
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's age, and of sizes that are constant here
        export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in graph.axes.items()},
        )


def write_onnx(path: Path, graph: Graph, precision: Precision) -> None:
    """Write a graph: floats stay the type of inputs and outputs, whatever the precision inside."""
    onnx = require_onnx()
    trace_onnx(path, graph)
    model = _in_precision(onnx, onnx.load(str(path)), precision)
    own = [one.name for one in model.graph.input], [one.name for one in model.graph.output]
    assert own == (list(graph.inputs), list(graph.outputs)), f"{path.name}: exported with {own}"
    onnx.helper.set_model_props(model, {key: str(value) for key, value in graph.metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _in_precision(onnx: Any, model: Any, precision: Precision) -> Any:
    """`int8`: weights of products and LSTM layers, one scale each, inputs quantised as they come. `float16`: all."""
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # Without this it warns that it has not run its own preparations, which the exporter's have done.
        onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "int8.onnx")
            quantize_dynamic(model, file, op_types_to_quantize=["MatMul", "LSTM"], weight_type=QuantType.QInt8)
            return onnx.load(str(file))
    if precision == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
        converted.topological_sort()  # its casts of the inputs stand last
        return converted.model
    return model
