"""The label side of a transducer by onnxruntime: what a search computes between two encoder frames.

One label at a time a product reads all of its weights for one row, so it takes as long as they do: in 8 bits a quarter.

Shapes: N hypotheses, L layers, E width of an embedding, D width, J joiner width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dualtk.graphs.files import Graph
from dualtk.graphs.lean import lean_graph
from dualtk.graphs.runtime import Session
from dualtk.streaming.compiled_step import Precision
from dualtk.transducer.joiner import Joiner, TanhJoiner
from dualtk.transducer.predictor import LSTMPredictor, Predictor, State, embed_labels

EXAMPLES = 2  # rows that a graph is traced with


class _Graph:
    """A module over rows, by onnxruntime.

    Args:
        module: a function of tensors whose first axes are the rows.
        inputs: examples, by name.
        outputs: names of what it returns.
        precision: of products with weights; in 8 bits each row has a scale of its own.
    """

    def __init__(
        self, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], precision: Precision
    ) -> None:
        own = copy.deepcopy(module).eval().requires_grad_(False)
        graph = lean_graph(Graph(own, inputs, outputs, {}, {}), [], is_quantized=precision == "int8")
        self._session, self._outputs = Session(graph.model), list(outputs)

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        values = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        return [torch.from_numpy(value) for value in self._session.run(self._outputs, values)]


class _Cells(nn.Module):
    """A step of an LSTM predictor in products that `quantize_rows` knows; torch's layers are one operator to ONNX."""

    def __init__(self, predictor: LSTMPredictor) -> None:
        super().__init__()
        self.embedding, self.projection = predictor.embedding, predictor.projection
        self.gates = nn.ModuleList()
        for layer in range(predictor.num_layers):
            weights = [getattr(predictor.lstm, f"weight_{kind}_l{layer}").detach() for kind in ("ih", "hh")]
            biases = [getattr(predictor.lstm, f"bias_{kind}_l{layer}").detach() for kind in ("ih", "hh")]
            gates = nn.Linear(weights[0].shape[1] + weights[1].shape[1], len(biases[0]))
            gates.weight.data, gates.bias.data = torch.cat(weights, dim=1), biases[0] + biases[1]
            self.gates.append(gates)

    def forward(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (N,) and states (N, L, D) -> output (N, D) and states."""
        output = embed_labels(self.embedding, tokens).unsqueeze(1)  # (N, 1, E): products of three axes stay such
        hiddens, cells = [], []
        for layer, gates in enumerate(self.gates):
            values = gates(torch.cat([output, hidden[:, layer : layer + 1]], dim=2))
            enter, forget, candidate, leave = values.chunk(4, dim=2)
            cells.append(forget.sigmoid() * cell[:, layer : layer + 1] + enter.sigmoid() * candidate.tanh())
            output = leave.sigmoid() * cells[-1].tanh()
            hiddens.append(output)
        return self.projection(output).squeeze(1), torch.cat(hiddens, dim=1), torch.cat(cells, dim=1)


class OnnxPredictor:
    """An LSTM predictor whose steps onnxruntime computes. See `Predictor`.

    Args:
        predictor: in eval mode, on a CPU; it is copied.
        precision: of its products.
    """

    def __init__(self, predictor: LSTMPredictor, precision: Precision) -> None:
        self.predictor = predictor
        self.output_dim, self.embedding = predictor.output_dim, predictor.embedding
        tokens = torch.zeros(EXAMPLES, dtype=torch.int64)
        inputs = {"tokens": tokens, **predictor.init_state(EXAMPLES)}
        self._graph = _Graph(_Cells(predictor), inputs, ["output", "new_hidden", "new_cell"], precision)

    def __call__(self, targets: Tensor) -> Tensor:
        """See `Predictor`."""
        outputs: Tensor = self.predictor(targets)
        return outputs

    def init_state(self, batch: int) -> State:
        """See `Predictor`."""
        return self.predictor.init_state(batch)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Predictor`."""
        output, hidden, cell = self._graph(tokens=tokens, **state)
        return output, {"hidden": hidden, "cell": cell}


class _Linear(nn.Linear):
    """A linear layer, over whose rows onnxruntime goes."""

    def __init__(self, layer: nn.Linear, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._graph = _Graph(layer, {"x": torch.zeros(EXAMPLES, 1, layer.in_features)}, ["y"], precision)

    def forward(self, x: Tensor) -> Tensor:
        (y,) = self._graph(x=x.reshape(-1, 1, self.in_features))
        return y.view(*x.shape[:-1], self.out_features)


class OnnxJoiner:
    """A tanh joiner whose output layer onnxruntime computes. See `Joiner`.

    Args:
        joiner: in eval mode, on a CPU; it is copied.
        precision: of that layer.
    """

    def __init__(self, joiner: TanhJoiner, precision: Precision) -> None:
        self.vocab_size, self.joiner_dim, self.activation = joiner.vocab_size, joiner.joiner_dim, joiner.activation
        self.encoder, self.predictor = joiner.encoder, joiner.predictor  # too small to gain
        self.output, self.layer = _Linear(joiner.output, precision), joiner.layer

    def __call__(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """See `Joiner`."""
        logits: Tensor = self.output(torch.tanh(encoder + predictor))
        return logits


def onnx_labels(predictor: Predictor, joiner: Joiner, precision: Precision) -> tuple[Predictor, Joiner]:
    """A predictor and a joiner of the same results, by onnxruntime where they have products that are worth it.

    Raises:
        InputError: a package is missing.
    """
    steps = OnnxPredictor(predictor, precision) if isinstance(predictor, LSTMPredictor) else predictor
    return steps, OnnxJoiner(joiner, precision) if isinstance(joiner, TanhJoiner) else joiner
