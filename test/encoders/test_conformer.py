"""The Conformer against torchaudio's, which we did not write."""

from __future__ import annotations

import pytest
import torch
from blocks import make_encoder
from peers import torchaudio
from torch import Tensor, nn

from dualtk.encoders.conformer import ConformerBlock
from dualtk.encoders.stacked import StackedEncoder
from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.nn.dual import DualNorm
from dualtk.nn.masked import MaskedLinear

DIM, HEADS, FEEDFORWARD, LAYERS, KERNEL = 16, 2, 24, 3, 7


def encoder(**changes: object) -> StackedEncoder:
    options: dict[str, object] = {
        "dim": DIM,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "feedforward_dim": FEEDFORWARD,
        "kernel": KERNEL,
        "dropout": 0.0,
        "subsampling_channels": 4,
    }
    network: StackedEncoder = make_encoder("conformer", 20, **{**options, **changes})
    return network


def copy(target: nn.Module, source: nn.Module) -> None:
    """Copy weight, bias and running statistics, by name."""
    values = source.state_dict()
    values.pop("num_batches_tracked", None)
    if isinstance(target, MaskedLinear):  # theirs may be a convolution of one tap
        values["weight"] = values["weight"].flatten(1)
    target.load_state_dict(values)


def norm(module: DualNorm) -> nn.Module:
    return module.norms["full"]


def copy_block(target: ConformerBlock, source: nn.Module) -> None:
    """The weights of one torchaudio ConformerLayer."""
    for ours, theirs in ((target.first_feedforward, source.ffn1), (target.second_feedforward, source.ffn2)):
        copy(norm(ours.norm), theirs.sequential[0])
        copy(ours.input, theirs.sequential[1])
        copy(ours.output, theirs.sequential[4])
    copy(norm(target.attention.norm), source.self_attn_layer_norm)
    target.attention.input.load_state_dict(
        {"weight": source.self_attn.in_proj_weight, "bias": source.self_attn.in_proj_bias}
    )
    copy(target.attention.output, source.self_attn.out_proj)
    convolution = source.conv_module
    copy(norm(target.convolution.norm), convolution.layer_norm)
    copy(target.convolution.input, convolution.sequential[0])
    copy(target.convolution.depthwise, convolution.sequential[2])
    copy(norm(target.convolution.depthwise_norm), convolution.sequential[3])
    copy(target.convolution.output, convolution.sequential[5])
    copy(norm(target.norm), source.final_layer_norm)


class Identity(nn.Module):
    """A front end that passes every fourth frame on, so that both networks start from the same frames."""

    def forward(self, feats: Tensor) -> Tensor:
        return feats[:, ::4]


@pytest.mark.parametrize("training", [False, True])
def test_full_context_equals_torchaudio(training: bool) -> None:
    torch.manual_seed(0)
    theirs = torchaudio.models.Conformer(DIM, HEADS, FEEDFORWARD, LAYERS, KERNEL, dropout=0.0)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    frames = torch.randn(3, 25, DIM)
    lengths = torch.full((3,), 25)
    theirs(frames, lengths)  # moves the statistics of its batch norms
    ours = encoder(positions="none")
    ours.front = Identity()
    for target, source in zip(ours.stack.blocks, theirs.conformer_layers, strict=True):
        copy_block(target, source)
    ours.train(training)
    theirs.train(training)
    output = ours(frames.repeat_interleave(4, dim=1), 4 * lengths, FULL_CONTEXT)
    torch.testing.assert_close(output.frames, theirs(frames, lengths)[0], atol=1e-5, rtol=1e-5)
    moved = norm(ours.stack.blocks[0].convolution.depthwise_norm)
    expected = theirs.conformer_layers[0].conv_module.sequential[3]
    torch.testing.assert_close(moved.running_var, expected.running_var)
    torch.testing.assert_close(moved.running_mean, expected.running_mean)


@pytest.mark.parametrize("convolution_norm", ["batch", "layer"])
def test_checkpointing_changes_nothing(convolution_norm: str) -> None:
    """Outputs, gradients, dropout and the statistics of batch norms are those without it, over two modes at once."""
    results = []
    for checkpoint in (False, True):
        torch.manual_seed(5)
        network = encoder(gradient_checkpointing=checkpoint, convolution_norm=convolution_norm, dropout=0.2)
        feats, lengths = torch.randn(2, 48, 20), torch.tensor([48, 30])
        torch.manual_seed(6)
        full = network(feats, lengths, FULL_CONTEXT).frames
        other = network(feats, lengths, streaming(2, chunk=2)).frames
        (full.square().mean() + other.square().mean()).backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        results.append((full, other, gradients, dict(network.named_buffers())))
    torch.testing.assert_close(results[0], results[1])


def test_heads_are_slices_of_the_frames_after_the_attention() -> None:
    network = encoder(num_layers=1).eval()
    feats, lengths = torch.randn(2, 30, 20), torch.tensor([30, 21])
    kept = []
    network.stack.blocks[0].convolution.norm.register_forward_hook(
        lambda _module, inputs, _output: kept.append(inputs[0])
    )
    output = network(feats, lengths, FULL_CONTEXT, return_heads=True)
    assert [heads.shape for heads in output.heads] == [(2, HEADS, 8, DIM // HEADS)]
    torch.testing.assert_close(output.heads[0].transpose(1, 2).flatten(2), kept[0])
    assert network(feats, lengths, FULL_CONTEXT).heads == []
    assert len(output.hidden) == 1
    torch.testing.assert_close(output.hidden[-1], output.frames)
