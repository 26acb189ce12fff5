"""What a network takes from torchaudio's, and what it refuses to hold or to mix up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peers import torchaudio
from safetensors.torch import save_file
from shipped import load_shipped
from tiny import ROOT
from torch import nn

from dualtk.config import dump
from dualtk.encoders.latent_masks import LatentMaskOptions
from dualtk.encoders.wav2vec import Wav2VecOptions
from dualtk.errors import InputError
from dualtk.system import PretrainingSystem, TransducerSystem, load
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment
from dualtk.train.freezing import FreezeOptions
from dualtk.train.initial import InitOptions, Source, inherit, initialise, read_source, record, summary

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
SHAPES = ["dim=16", "num_layers=2", "num_heads=2", "feedforward_dim=24", "channels=8"]
NEVER = LatentMaskOptions(time_probability=0.0, channel_probability=0.5, channel_width=4)
ALWAYS = LatentMaskOptions(time_probability=0.5, channel_width=4)
PRETRAIN = ROOT / "test/conf/wav2vec_pretrain.yaml"


def theirs(extractor: str) -> torchaudio.models.Wav2Vec2Model:
    """Torchaudio's network, small; `group_norm` is the shape of its base model, `layer_norm` of its large ones."""
    large = extractor == "layer_norm"
    network = torchaudio.models.wav2vec2_model(
        *(extractor, [(8, kernel, stride) for kernel, stride in zip(KERNELS, STRIDES)], large),
        *(16, 0.0, 8, 4, 2, 2, 0.0, 24, 0.0, 0.0, large, 0.0, None),
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter.data)
    return network


def ours(
    norm: str = "layer", masks: LatentMaskOptions | None = None, inner: int = 24, **changes: object
) -> nn.ModuleDict:
    """With the norms of blocks that torchaudio's network with this norm in its extractor has."""
    options = {"name": "wav2vec", "extractor_norm": norm, "pre_norm": norm == "layer", "latent_masks": masks}
    sizes = {"dim": 16, "num_layers": 2, "num_heads": 2, "feedforward_dim": inner, "dropout": 0.0, "channels": 8}
    encoder = Wav2VecOptions.model_validate({**options, **sizes, **changes}).build(160, ("streaming", "whole"))
    return nn.ModuleDict({"encoder": encoder, "joiner": nn.Linear(2, 2)})


def written(network: nn.Module, path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


def begin(network: nn.Module, source: Path, folder: Path, *modules: str) -> None:
    freeze = [FreezeOptions(module=module, steps=10) for module in modules]
    initialise(network, InitOptions(exp=source, freeze=freeze), Experiment(folder, writes=False))


def refusal(network: nn.Module, source: Path, *modules: str) -> str:
    with pytest.raises(InputError) as caught:
        begin(network, source, source.parent / "exp", *modules)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SMALL = [f"model.encoder.{change}" for change in SHAPES]


def pretraining(*changes: str) -> PretrainingSystem:
    system = load(PRETRAIN, overrides=changes)
    assert isinstance(system, PretrainingSystem)
    return system


def shipped_finetuning(size: str, *changes: str) -> TransducerSystem:
    system = load_shipped("wav2vec_finetune", size, *SMALL, *changes)
    assert isinstance(system, TransducerSystem)
    return system


def network_of(system: TransducerSystem | PretrainingSystem) -> nn.Module:
    mean = torch.zeros(system.features.dim)
    if isinstance(system, PretrainingSystem):
        return system.build_network(mean, mean + 1)
    return system.build_network(9, mean, mean + 1)


def pretrained(folder: Path, system: PretrainingSystem) -> Path:
    """A folder as pre-training leaves it."""
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(system), encoding="utf-8")
    network = network_of(system)
    save_network(Experiment(folder, writes=False).network_file, network.state_dict())
    return folder


def test_a_part_is_held_only_where_all_of_it_was_loaded(tmp_path: Path) -> None:
    source, wider = written(theirs("layer_norm"), tmp_path / "x.safetensors"), ours(inner=32)
    begin(ours(), source, tmp_path, "encoder")
    first = "encoder.stack.blocks.0.feedforward.input.weight"
    line = refusal(wider, source, "encoder.extractor", "encoder")
    assert line.startswith("init.freeze.1.module: not all of encoder was loaded from ")
    held = sum(1 for _ in wider["encoder"].parameters())
    assert f"; 6 of its {held} parameters would be held as they were drawn, the first {first} " in line
    assert line.endswith("(24x16 there, 32x16 here)")
    begin(wider, source, tmp_path, "encoder.extractor", "encoder.projection", "encoder.stack.blocks.0.attention")


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_all_of_torchaudios_encoder_is_loaded(norm: str, tmp_path: Path) -> None:
    source = written(theirs(f"{norm}_norm"), tmp_path / "x.safetensors")
    network = ours(norm, positions="convolution", position_kernel=8, position_groups=4)
    begin(network, source, tmp_path, "encoder")
    found = inherit(network, read_source(source))
    assert set(found.left) == {"joiner.weight", "joiner.bias"}
    assert not any("positions" in line for line in summary(found, read_source(source)))
    assert "unused" not in record(found, read_source(source))


def test_positions_of_another_kind_are_said(tmp_path: Path) -> None:
    source = read_source(written(theirs("group_norm"), tmp_path / "x.safetensors"))
    for positions in ("rotary", "relative", "none"):
        found = inherit(ours("group", positions=positions), source)
        line = f"model.encoder.positions: {positions}; those of {source.path}, convolution, are not loaded"
        assert line in summary(found, source)
        assert "unused encoder.positions.weight\n" in record(found, source)
    found = inherit(ours("group", positions="convolution"), source)
    assert found.left["encoder.positions.weight"] == "16x4x8 there, 16x1x128 here"


@pytest.mark.parametrize(("norm", "here", "there"), [("layer", False, True), ("group", True, False)])
def test_the_place_of_norms_is_that_of_torchaudios_network(norm: str, here: bool, there: bool, tmp_path: Path) -> None:
    source = written(theirs(f"{norm}_norm"), tmp_path / "x.safetensors")
    line = refusal(ours(norm, pre_norm=here), source)
    assert line == f"model.encoder.pre_norm: {here}, but {source} was trained with {there}"


def test_norms_and_positions_of_our_experiment(tmp_path: Path) -> None:
    after, convolution = "model.encoder.pre_norm=false", "model.encoder.positions=convolution"
    systems = [pretraining(*changes) for changes in ([], [after], [after, convolution])]
    networks = [network_of(system) for system in systems]
    source = pretrained(tmp_path / "source", systems[1])
    assert refusal(networks[0], source) == f"model.encoder.pre_norm: True, but {source} was trained with False"
    begin(networks[1], source, tmp_path, "encoder")
    found = inherit(networks[2], read_source(source))
    assert set(found.left) == {"encoder.positions.weight", "encoder.positions.bias"}
    lines = summary(found, read_source(source))
    assert f"model.encoder.positions: convolution; those of {source}, rotary, are not loaded" in lines


@pytest.mark.slow
def test_the_vector_of_masks_may_be_drawn_only_where_no_frame_is_masked(tmp_path: Path) -> None:
    source = written(theirs("layer_norm"), tmp_path / "x.safetensors")
    begin(ours(masks=NEVER), source, tmp_path, "encoder")
    line = refusal(ours(masks=ALWAYS), source, "encoder")
    assert " 1 of its " in line
    assert line.endswith("the first encoder.latent_masks.embedding (not there)")
    begin(ours(masks=ALWAYS), source, tmp_path, "encoder.extractor", "encoder.stack")


@pytest.mark.parametrize(
    ("size", "held"),
    [("paper", ["encoder.extractor", "encoder"]), ("cpu-synthetic", ["encoder"]), ("cpu-fsdd", ["encoder"])],
)
def test_shipped_fine_tuning_may_hold_what_shipped_pre_training_left(
    size: str, held: list[str], tmp_path: Path
) -> None:
    before = load_shipped("wav2vec_pretrain", size, *SMALL)
    assert isinstance(before, PretrainingSystem)
    source = pretrained(tmp_path / "source", before)
    masks = ["model.encoder.latent_masks.channel_width=4"] if size == "paper" else []
    system = shipped_finetuning(size, f"init.exp={source}", *masks)
    assert system.init is not None
    assert [part.module for part in system.init.freeze] == held
    initialise(network_of(system), system.init, Experiment(tmp_path / "exp", writes=False))


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_shipped_fine_tuning_takes_torchaudios_network_as_its_comment_says(norm: str, tmp_path: Path) -> None:
    path, source = ROOT / "egs/methods/wav2vec_finetune.yaml", tmp_path / "x.pt"
    torch.save({f"model.{name}": tensor for name, tensor in theirs(f"{norm}_norm").state_dict().items()}, source)
    said = path.read_text(encoding="utf-8")
    common = ["stacking=1", "positions=convolution"]
    options = common if norm == "layer" else [*common, "extractor_norm=group", "pre_norm=false"]
    for option in options:
        assert option.replace("=", ": ") in said
    sizes = ["latent_masks.channel_width=4", "position_kernel=8", "position_groups=4"]
    changes = [f"model.encoder.{option}" for option in [*options, *sizes]]
    system = shipped_finetuning("paper", *changes, f"init.exp={source}", "init.freeze.1.module=encoder.stack")
    assert system.init is not None
    network = network_of(system)
    initialise(network, system.init, Experiment(tmp_path / "exp", writes=False))
    found = inherit(network, read_source(source))
    assert [key for key in found.left if key.startswith("encoder.")] == ["encoder.latent_masks.embedding"]


@pytest.mark.parametrize(("here", "there"), [("layer", "group"), ("group", "layer")])
def test_the_extractors_norm_is_that_of_torchaudios_network(here: str, there: str, tmp_path: Path) -> None:
    source = written(theirs(f"{there}_norm"), tmp_path / "x.safetensors")
    line = refusal(ours(here), source)
    assert line == f"model.encoder.extractor_norm: {here}, but {source} was trained with {there}"
    begin(ours(there), source, tmp_path)


@pytest.mark.parametrize(("here", "there"), [("layer", "group"), ("group", "layer")])
def test_the_extractors_norm_is_that_of_our_experiment(here: str, there: str, tmp_path: Path) -> None:
    systems = [pretraining(f"model.encoder.extractor_norm={norm}") for norm in (here, there)]
    source = pretrained(tmp_path / "source", systems[1])
    line = refusal(network_of(systems[0]), source)
    assert line == f"model.encoder.extractor_norm: {here}, but {source} was trained with {there}"
    begin(network_of(systems[1]), source, tmp_path)


@pytest.mark.parametrize(("name", "zipped"), [("x.pth", True), ("x.pt", False), ("pytorch_model.bin", True)])
def test_a_state_dict_of_torch_is_read_like_safetensors(name: str, zipped: bool, tmp_path: Path) -> None:
    network = theirs("layer_norm")
    torch.save(network.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    expected = read_source(written(network, tmp_path / "x.safetensors"))
    found = read_source(tmp_path / name)
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(value, expected.tensors[key]) for key, value in found.tensors.items())
    assert not any(key.startswith("encoder.") for key in inherit(ours(), found).left)


def test_a_file_that_is_neither_is_one_line(tmp_path: Path) -> None:
    network = theirs("layer_norm")
    torch.save(network.feature_extractor, tmp_path / "module.pth")  # needs its class: not tensors alone
    torch.save({"model": network.state_dict(), "epoch": 3}, tmp_path / "nested.pth")
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    (tmp_path / "text.bin").write_text("half a file", encoding="utf-8")
    (tmp_path / "empty.pt").touch()
    for name in ("module.pth", "nested.pth", "half.pth", "text.bin", "empty.pt"):
        line = refusal(ours(), tmp_path / name)
        assert line == f"{tmp_path / name}: neither safetensors nor a state dict that torch.save wrote"
    whole = written(network, tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[:2000])
    assert "half.safetensors: not a safetensors file: " in refusal(ours(), tmp_path / "half.safetensors")


def test_a_source_without_an_extractor_says_nothing_of_its_norm() -> None:
    network = ours("group")
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    assert not inherit(network, Source(Path("exp/x"), tensors)).left
