"""A network that begins with another's tensors: what it takes, what it says, and which parts wait."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peers import torchaudio
from safetensors.torch import load_file, save_file
from tiny import WORDS, train_arguments, write_set
from torch import nn
from two_processes import assert_two_equal_one

from dualtk.bin.train import main
from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer
from dualtk.encoders.wav2vec import Wav2VecOptions
from dualtk.errors import InputError
from dualtk.nn.dual import DualNorm
from dualtk.system import TransducerSystem, load_experiment
from dualtk.train.freezing import FreezeOptions, Freezing
from dualtk.train.initial import Rows, Source, inherit, read_source, record, summary

pytestmark = pytest.mark.slow

FIXED = ["schedule={name: transformer, lr: 0.003, warmup_steps: 4}", "model.encoder.convolution_norm=layer"]
STILL = ["schedule={name: transformer, lr: 0.0, warmup_steps: 4}", "model.encoder.convolution_norm=layer"]


@pytest.fixture(scope="module")
def source(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained experiment."""
    exp = tmp_path_factory.mktemp("source") / "exp"
    assert main(train_arguments(corpus, exp, *FIXED, "train.max_steps=2")) == 0
    return exp


@pytest.fixture(scope="module")
def other(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data with fewer wordpieces, and with another mean."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "dev").symlink_to(corpus / "dev")
    write_set(folder / "train", 24, seed=3)
    write_tokenizer(folder / "lang", [" ".join(WORDS)] * 4, TokenOptions(size=22))
    return folder


def init(exp: Path, *freeze: str) -> str:
    return f"init={{exp: {exp}, freeze: [{', '.join(freeze)}]}}"


def test_another_vocabulary_takes_the_encoder_and_the_rows_of_common_tokens(
    source: Path, other: Path, tmp_path: Path
) -> None:
    exp = tmp_path / "exp"
    assert main(train_arguments(other, exp, *STILL, init(source), "train.max_steps=1")) == 0
    before, after = load_file(source / "model.safetensors"), load_file(exp / "model.safetensors")
    by_row = {key for key in after if before[key].shape != after[key].shape}
    assert by_row == {"predictor.embedding.weight", "joiner.output.weight", "joiner.output.bias"}
    for key in after.keys() - by_row:
        assert torch.equal(after[key], before[key]), key
    there, here = Tokenizer(source / "lang").pieces, Tokenizer(exp / "lang").pieces
    common = [piece for piece in here if piece in there]
    assert 10 < len(common) < len(there)
    for key in by_row:
        for piece in common:
            assert torch.equal(after[key][here.index(piece)], before[key][there.index(piece)]), (key, piece)
    log, listed = ((exp / name).read_text(encoding="utf-8") for name in ("train.log", "init.txt"))
    assert f"init: {len(after)} of {len(after)} tensors from {source}\n" in log
    assert listed.count("\nloaded ") == len(after)
    new = [piece for piece in here if piece not in there]
    if new:
        assert f"init: tokens that the source does not have, {len(new)}: {' '.join(new[:20])}" in log
    assert not (source / "init.txt").exists()


def test_tokens_of_the_same_number_are_told_apart(source: Path, tmp_path: Path) -> None:
    """Rows go by the token, not by its number, and those of new tokens stay as they were drawn."""
    found = read_source(source)
    assert found.pieces[0] == "<blk>" or found.pieces[0]
    system = load_experiment(source)
    assert isinstance(system, TransducerSystem)
    network = system.build_network(len(found.pieces), torch.zeros(16), torch.ones(16))
    drawn = network.predictor.embedding.weight.detach().clone()
    here = [found.pieces[0], *reversed(found.pieces[1:-1]), "NEW"]
    told = inherit(network, found, Rows(here, network.token_parameters()))
    embedding = found.tensors["predictor.embedding.weight"]
    for row, piece in enumerate(here[:-1]):
        assert torch.equal(network.predictor.embedding.weight[row], embedding[found.pieces.index(piece)])
    assert torch.equal(network.predictor.embedding.weight[-1], drawn[-1])
    assert told.new_tokens == ["NEW"]


def test_the_log_names_twenty_and_the_file_all(source: Path, corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    deeper = ["model.encoder.num_layers=3", init(source), "train.max_steps=1"]
    assert main(train_arguments(corpus, exp, *STILL, *deeper)) == 0
    log, listed = ((exp / name).read_text(encoding="utf-8") for name in ("train.log", "init.txt"))
    line = next(line for line in log.splitlines() if "not loaded" in line)
    left = [line for line in listed.splitlines() if line.startswith("left encoder.stack.blocks.2.")]
    assert len(left) > 30
    assert line.count("(not there)") == 20
    assert line.endswith(f"and {len(left) - 20} more, all in init.txt")


def test_masks_are_not_taken(source: Path, corpus: Path, tmp_path: Path) -> None:
    sparse = [
        "modes.streaming.sparsity=0.9",
        "pruning={schedule: {shape: constant, start_step: 0}}",
    ]
    assert main(train_arguments(corpus, tmp_path / "first", *STILL, *sparse, init(source), "train.max_steps=1")) == 0
    less = [*sparse[1:], "modes.streaming.sparsity=0.5", init(tmp_path / "first"), "train.max_steps=1"]
    assert main(train_arguments(corpus, tmp_path / "second", *STILL, *less)) == 0
    masks = [v for k, v in load_file(tmp_path / "second/model.safetensors").items() if k.endswith("mask_streaming")]
    assert masks
    assert all(int(mask.sum()) == mask.numel() - round(0.5 * mask.numel()) for mask in masks)


def source_of(network: nn.Module, *full: str) -> Source:
    return Source(Path("exp/x"), {key: value.clone() for key, value in network.state_dict().items()}, frozenset(full))


def norms(*modes: str) -> nn.ModuleDict:
    return nn.ModuleDict({"norm": DualNorm("layer", 3, modes), "linear": nn.Linear(3, 2)})


def test_norms_of_a_mode_that_the_source_lacks_come_from_its_full_or_only_mode() -> None:
    theirs = norms("other", "whole")
    nn.init.constant_(theirs["norm"].norms["whole"].weight, 7.0)  # type: ignore[union-attr,operator,index]
    ours = norms("streaming", "other")
    source = source_of(theirs, "whole")
    found = inherit(ours, source)
    weights = {key: value for key, value in ours.state_dict().items() if key.endswith("norms.streaming.weight")}
    assert [value.tolist() for value in weights.values()] == [[7.0, 7.0, 7.0]]
    assert found.norms_from_other_mode == {("streaming", "whole"): 2}
    assert not found.left
    assert "norms of mode streaming are those of the source's mode whole (2 tensors)" in summary(found, source)

    assert inherit(norms("streaming"), source_of(norms("only"))).norms_from_other_mode == {("streaming", "only"): 2}
    two_streams = inherit(norms("streaming"), source_of(norms("a", "b")))
    assert sorted(two_streams.left) == ["norm.norms.streaming.bias", "norm.norms.streaming.weight"]


def test_a_file_in_the_names_of_torchaudio_fills_the_encoder(tmp_path: Path) -> None:
    kernels = [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2]
    theirs = torchaudio.models.wav2vec2_model(
        *("layer_norm", kernels, True, 16, 0.0, 8, 4, 2, 2, 0.0, 24, 0.0, 0.0, True, 0.0, None)
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter.data)
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "x.safetensors")
    sizes = {"dim": 16, "num_layers": 2, "num_heads": 2, "feedforward_dim": 24, "dropout": 0.0, "channels": 8}
    options = Wav2VecOptions.model_validate({"name": "wav2vec", **sizes})
    encoder = options.build(160, ("streaming", "whole"))
    network = nn.ModuleDict({"encoder": encoder, "joiner": nn.Linear(2, 2)})
    source = read_source(tmp_path / "x.safetensors")
    found = inherit(network, source)
    assert set(found.left) == {"joiner.weight", "joiner.bias"}
    own, last = network.state_dict(), theirs.state_dict()["encoder.transformer.layers.1.final_layer_norm.weight"]
    assert torch.equal(
        own["encoder.extractor.layers.3.weight"].flatten(),
        theirs.feature_extractor.conv_layers[3].conv.weight.flatten(),
    )
    for mode in ("streaming", "whole"):
        assert torch.equal(own[f"encoder.stack.blocks.1.feedforward.norm.norms.{mode}.weight"], last)
    assert "unused encoder.positions.bias\n" in record(found, source)


def test_what_is_not_used_is_on_record(tmp_path: Path) -> None:
    theirs = nn.ModuleDict({"linear": nn.Linear(3, 2), "quantizer": nn.Linear(3, 2)})
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    source = Source(tmp_path / "x.safetensors", load_file(tmp_path / "x.safetensors"))
    text = record(inherit(norms("full"), source), source)
    assert "unused quantizer.bias\n" in text
    assert "left norm.norms.full.bias: not there\n" in text


def test_a_run_that_goes_on_does_not_load_again_and_ends_in_the_same_bytes(
    source: Path, corpus: Path, tmp_path: Path
) -> None:
    """Stopped before and at the step with which a part is released; the source is gone by then."""
    gone = tmp_path / "gone"
    shutil.copytree(source, gone)
    held = [*FIXED, init(gone, "{module: encoder.front, steps: 4}"), "train.save_every=1"]
    assert main(train_arguments(corpus, tmp_path / "whole", *held, "train.max_steps=6")) == 0
    for name, stop in {"early": 3, "late": 4}.items():
        assert main(train_arguments(corpus, tmp_path / name, *held, f"train.max_steps={stop}")) == 0
    shutil.rmtree(gone)
    whole = torch.load(tmp_path / "whole/checkpoints/last.pt", weights_only=True)
    for name in ("early", "late"):
        assert main([*train_arguments(corpus, tmp_path / name, *held, "train.max_steps=6"), "--override"]) == 0
        state = torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True)
        for key, value in whole["objective"].items():
            assert torch.equal(value, state["objective"][key]), f"{name}: {key}"
        for index, moments in whole["optimizer"]["state"].items():
            for kind, value in moments.items():
                assert torch.equal(value, state["optimizer"]["state"][index][kind]), f"{name}: {index} {kind}"


def test_a_part_waits_and_then_moves(source: Path, corpus: Path, tmp_path: Path) -> None:
    before = load_file(source / "model.safetensors")
    parts = ["{module: encoder.front, steps: 4}", "{module: predictor}"]
    for steps in (4, 5):
        exp = tmp_path / f"{steps}"
        assert main(train_arguments(corpus, exp, *FIXED, init(source, *parts), f"train.max_steps={steps}")) == 0
        state = torch.load(exp / "checkpoints/last.pt", weights_only=True)["objective"]
        moved = {key for key, value in before.items() if not torch.equal(state[f"network.{key}"], value)}
        assert any(key.startswith("encoder.stack.blocks.") for key in moved)
        assert not any(key.startswith("predictor.") for key in moved)
        assert any(key.startswith("encoder.front.") for key in moved) == (steps == 5)


def test_parts_inside_each_other_wait_for_the_longest() -> None:
    network = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2), "c": nn.Linear(2, 2)}), "d": nn.Linear(2, 2)})
    parts = [("a", 3), ("a.b", None), ("a.c", 1)]
    freezing = Freezing(network, [FreezeOptions(module=module, steps=steps) for module, steps in parts])
    assert [freezing.held(step) for step in (0, 2, 3, 1000)] == [4, 4, 2, 2]
    freezing.apply(0)
    assert {key for key, one in network.named_parameters() if one.requires_grad} == {"d.weight", "d.bias"}
    freezing.apply(3)
    assert {key for key, one in network.named_parameters() if not one.requires_grad} == {"a.b.weight", "a.b.bias"}


def test_two_processes_hold_and_release_like_one(source: Path, corpus: Path, tmp_path: Path) -> None:
    shared = [
        *FIXED,
        init(source, "{module: encoder.front, steps: 2}", "{module: encoder, steps: 1}"),
        "model.encoder.dropout=0.0",
        "model.predictor={name: stateless, dim: 16}",
        "augment=null",
        "train.max_steps=4",
        "optimizer={name: adam, eps: 0.001, weight_decay: 0.0}",
    ]
    assert_two_equal_one(corpus, tmp_path, *shared)


def test_faults_are_one_line_each(source: Path, corpus: Path, tmp_path: Path) -> None:
    empty, broken, foreign = tmp_path / "empty", tmp_path / "broken", tmp_path / "foreign"
    empty.mkdir()
    for folder in (broken, foreign):
        shutil.copytree(source, folder)
    (broken / "model.safetensors").write_bytes(b"half a file")
    save_file({"something.else": torch.zeros(3)}, foreign / "model.safetensors")
    front = "{module: encoder.front, steps: 4}"
    faults = {
        init(tmp_path / "nowhere"): r"init\.exp: no .*nowhere: train it first, by run\.sh with --conf nowhere, or ",
        init(tmp_path / "nowhere.pt"): r"init\.exp: no such file: .*nowhere\.pt",
        init(empty): r"init\.exp: .*empty: not a trained experiment: it has no model\.safetensors",
        init(broken): r"model\.safetensors: not a safetensors file",
        init(source / "model.safetensors"): r"init\.exp: .*: not a wav2vec 2\.0 network of torchaudio",
        init(foreign): r"init\.exp: .*foreign: none of its tensors fits this network",
        init(source, "{module: encoder.extractor}"): r"init\.freeze\.0\.module: .* no parameters in encoder\.extractor",
        init(source, front, front): r"init\.freeze\.1\.module: encoder\.front is there twice",
        init(source, "{module: encoder}", "{module: joiner}", "{module: predictor}"): r"init\.freeze: nothing .* train",
        init(source, "{module: encoder, steps: 0}"): r"init\.freeze\.0\.steps: ",
        "init={freeze: []}": r"init\.exp: missing",
    }
    for override, line in faults.items():
        with pytest.raises(InputError, match=line) as caught:
            main(train_arguments(corpus, tmp_path / "exp", *FIXED, override))
        assert "\n" not in str(caught.value)
    wider = ["model.encoder.dim=32", init(source, "{module: encoder.stack.blocks.0.attention}")]
    with pytest.raises(
        InputError, match=r"freeze\.0\.module: not all of encoder\.stack\.blocks\.0\.attention was loaded"
    ):
        main(train_arguments(corpus, tmp_path / "exp", *FIXED, *wider))
