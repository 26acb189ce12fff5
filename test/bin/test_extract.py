"""`dualtk extract`: a folder that decodes to the same tokens, without what masks remove."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from small_experiment import write_experiment
from small_networks import speech
from tiny import write_set

from dualtk.bin import decode, extract, transcribe
from dualtk.bin.dualtk import run
from dualtk.nn.masked import MaskedLinear
from dualtk.pruning.masks import prunable_layers
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment
from dualtk.trained import load

pytestmark = pytest.mark.slow

PRUNING = "pruning={{pattern: '{pattern}', scope: layer, schedule: {{shape: constant, start_step: 0}}}}"


def supernet(folder: Path, pattern: str = "unstructured", sparsity: float = 0.7, drawn: float = 1.0) -> Path:
    """An experiment with the masks of `draw_masks`."""
    mode = f"modes.streaming={{left_context: 8, chunk: 2, sparsity: {sparsity}}}"
    write_experiment(folder, mode, PRUNING.format(pattern=pattern), "model.encoder.kernel=7")
    return draw_masks(folder, drawn)


def draw_masks(folder: Path, drawn: float = 1.0) -> Path:
    """Draw the masks of an experiment to a part of their sparsity, and change its weights thereafter."""
    trained = load(folder)
    network = trained.network
    pruner = trained.system.build_pruner(network)
    assert pruner is not None
    pruner.draw(drawn)
    with torch.no_grad():
        for layer in prunable_layers(network).values():
            layer.weight.add_(0.5 * layer.weight.std() * torch.randn_like(layer.weight))
    save_network(Experiment(folder, writes=False).network_file, network.state_dict())
    return folder


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return supernet(tmp_path_factory.mktemp("exp") / "supernet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    write_set(folder, 7, seed=3)
    return folder


def call(exp: Path, out: Path, *arguments: object) -> dict[str, object]:
    assert run(extract.main, [str(one) for one in ("--exp", exp, out, *arguments)]) == 0
    facts: dict[str, object] = json.loads((out / "extract.json").read_text(encoding="utf-8"))
    return facts


def tokens(exp: Path, data: Path, out: Path, mode: str = "streaming", *arguments: str) -> str:
    options = ["--exp", exp, "--data", data, "--out", out, "--device", "cpu", "--mode", mode, *arguments]
    assert run(decode.main, [str(option) for option in options]) == 0
    return (out / "tokens.jsonl").read_text(encoding="utf-8")


def came_back(exp: Path, compact: Path) -> int:
    """Weights of a compact network that its supernet's masks remove."""
    layers = prunable_layers(load(exp).network)
    masks = {name: layer.mask("streaming") for name, layer in layers.items()}
    kept = {name: layer.weight != 0 for name, layer in prunable_layers(load(compact).network).items()}
    return sum(int((kept[name] & ~mask).sum()) for name, mask in masks.items() if mask is not None)


def test_the_compact_network_decodes_to_the_same_tokens(exp: Path, data: Path, tmp_path: Path) -> None:
    facts = call(exp, tmp_path / "out", "--mode", "streaming", "--sparsity", 0.7)
    assert facts["trained"] is True
    assert facts["sparsity"] == pytest.approx(0.7, abs=0.01)
    before, after = tokens(exp, data, tmp_path / "a"), tokens(tmp_path / "out", data, tmp_path / "b")
    assert after == before
    assert len(set(before.split('"tokens"'))) > 3
    whole, compact = load(exp), load(tmp_path / "out")
    feats, lengths = torch.randn(2, 40, 16), torch.tensor([40, 30])
    mode, sparse = compact.mode("streaming"), whole.mode("streaming")
    assert mode == replace(sparse, sparsity=0.0)
    with torch.inference_mode():
        found, expected = compact.network.encode(feats, lengths, mode), whole.network.encode(feats, lengths, sparse)
    torch.testing.assert_close(found.frames, expected.frames, rtol=0, atol=1e-6)
    assert not any(list(one.buffers()) for one in compact.network.modules() if isinstance(one, MaskedLinear))


def test_only_what_is_kept_is_stored(exp: Path, tmp_path: Path) -> None:
    facts = call(exp, tmp_path / "out")
    network = load(exp).network
    kept = prunable = 0
    stored = load_file(tmp_path / "out/model.safetensors")
    for name, layer in network.named_modules():
        if isinstance(layer, MaskedLinear):
            mask = layer.mask("streaming")
            assert mask is not None
            assert stored[f"{name}.weight.kept"].numel() == int(mask.sum())
            kept, prunable = kept + int(mask.sum()), prunable + mask.numel()
    assert facts["parameters"] - facts["kept_parameters"] == prunable - kept
    assert facts["size"] == (tmp_path / "out/model.safetensors").stat().st_size
    assert facts["size"] < 0.7 * facts["full_size"]
    assert not any("norms.full" in key for key in stored)
    assert set(facts["speed"]) == {"float32", "int8"}


def test_two_of_four_is_packed(data: Path, tmp_path: Path) -> None:
    exp = supernet(tmp_path / "exp", "2:4", 0.5)
    assert call(exp, tmp_path / "out")["pattern"] == "2:4"
    stored = load_file(tmp_path / "out/model.safetensors")
    key = "encoder.stack.blocks.0.attention.output.weight"
    assert stored[f"{key}.kept"].numel() * 2 == 8 * stored[f"{key}.places"].numel()
    assert tokens(tmp_path / "out", data, tmp_path / "b") == tokens(exp, data, tmp_path / "a")


def test_one_shot_pruning_of_a_dense_network(data: Path, tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "exp")
    facts = call(exp, tmp_path / "out", "--sparsity", 0.5, "--pattern", "4x1")
    assert facts["trained"] is False
    assert facts["sparsity"] == pytest.approx(0.5, abs=0.03)
    assert tokens(tmp_path / "out", data, tmp_path / "b") != tokens(exp, data, tmp_path / "a")
    full = call(exp, tmp_path / "full", "--mode", "full")
    assert full["kept_parameters"] == full["parameters"]
    assert tokens(tmp_path / "full", data, tmp_path / "d", "full") == tokens(exp, data, tmp_path / "c", "full")


@pytest.mark.parametrize(
    ("pattern", "trained", "sparsity"), [("unstructured", 0.7, 0.8), ("8x1", 0.7, 0.8), ("2:4", 0.3, 0.5)]
)
def test_more_than_was_trained_is_removed_from_what_training_kept(
    tmp_path: Path, pattern: str, trained: float, sparsity: float
) -> None:
    exp = supernet(tmp_path / "exp", pattern, trained)
    for name, arguments in (("more", []), ("named", ["--pattern", pattern])):
        facts = call(exp, tmp_path / name, "--sparsity", sparsity, *arguments)
        assert facts["trained"] is False
        assert facts["sparsity"] == pytest.approx(sparsity, abs=0.03)
        assert came_back(exp, tmp_path / name) == 0


def test_less_than_was_trained_is_in_one_shot(exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(exp, tmp_path / "less", "--sparsity", 0.5)["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert "50.0 % of the prunable weights left out (unstructured, in one shot)" in capsys.readouterr().out
    assert came_back(exp, tmp_path / "less") > 0


@pytest.mark.parametrize(("pattern", "sparsity"), [("3x5", 0.7), ("8x1", 0.9), ("2:4", 0.3)])
def test_masks_that_edges_and_rounding_keep_from_their_sparsity_are_trained(
    tmp_path: Path, pattern: str, sparsity: float
) -> None:
    exp = supernet(tmp_path / "exp", pattern, sparsity)
    for name, arguments in (("out", []), ("named", ["--sparsity", sparsity, "--pattern", pattern])):
        assert call(exp, tmp_path / name, *arguments)["trained"] is True
        assert came_back(exp, tmp_path / name) == 0


@pytest.mark.parametrize("drawn", [0.0, 0.5])
def test_masks_of_an_unfinished_training_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: float
) -> None:
    exp = supernet(tmp_path / "exp", drawn=drawn)
    for arguments in ([], ["--sparsity", "0.7"]):
        assert run(extract.main, ["--exp", str(exp), str(tmp_path / "out"), *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        found = re.search(r"masks of mode streaming remove (\S+) % of the prunable weights, not yet 70.00 %", line)
        assert found is not None
        assert float(found[1]) == pytest.approx(70 * drawn, abs=0.2)
        assert "--pattern unstructured" in line
        assert not (tmp_path / "out").exists()
    for sparsity in (0.5, 0.7):
        facts = call(exp, tmp_path / str(sparsity), "--sparsity", sparsity, "--pattern", "unstructured")
        assert facts["trained"] is False
        assert facts["sparsity"] == pytest.approx(sparsity, abs=0.01)
        assert came_back(exp, tmp_path / str(sparsity)) == 0


def test_a_size_of_a_supernet_of_many_is_found_by_its_sparsity(tmp_path: Path) -> None:
    modes = "{full: {full_context: true}, streaming: {chunk: 2, left_context: 8, sparsity: 0.7}, "
    modes += "small: {chunk: 2, left_context: 8, sparsity: 0.9}, other: {chunk: 4, left_context: 8, sparsity: 0.8}}"
    exp = draw_masks(write_experiment(tmp_path / "exp", f"modes={modes}", PRUNING.format(pattern="unstructured")))
    assert call(exp, tmp_path / "small", "--sparsity", 0.9)["mode"] == "small"
    assert call(exp, tmp_path / "one_shot", "--sparsity", 0.8)["mode"] == "streaming"


def test_eight_bits(exp: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stored in 8 bits, the network computes in 8 bits exactly as the whole one does."""
    plain, small = call(exp, tmp_path / "plain"), call(exp, tmp_path / "small", "--int8")
    assert small["size"] < plain["size"]
    assert tokens(tmp_path / "small", data, tmp_path / "a").count("\n") == 7
    whole = tokens(exp, data, tmp_path / "b", "streaming", "--precision", "int8")
    assert tokens(tmp_path / "small", data, tmp_path / "c", "streaming", "--precision", "int8") == whole
    soundfile.write(tmp_path / "x.wav", speech(32000, 5).numpy(), 16000, subtype="FLOAT")
    capsys.readouterr()
    texts = []
    for folder in (exp, tmp_path / "small"):
        arguments = ["--exp", str(folder), "--precision", "int8", "--json", str(tmp_path / "x.wav")]
        assert run(transcribe.main, arguments) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert '"text"' in texts[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--sparsity", "1.5"], "--sparsity: must lie in [0, 1), not 1.5"),
        (["--mode", "half"], "has no mode half"),
        (["--sparsity", "0.7", "--pattern", "2:4"], "error: --pattern: 2:4 removes 0.5 at most, not 0.7"),
        (["--pattern", "3y"], "error: --pattern: '3y' is not unstructured"),
        (["--sparsity", "0.1", "--pattern", "2:7"], "error: --pattern: 2:7 needs inputs in groups of 7"),
    ],
)
def test_faults_are_one_line(
    exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(extract.main, ["--exp", str(exp), str(tmp_path / "out"), *arguments]) == 2
    assert line in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    assert run(extract.main, ["--exp", str(exp), str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_sparsity_beyond_the_trained_pattern_is_at_fault_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exp = supernet(tmp_path / "exp", "2:4", 0.5)
    assert run(extract.main, ["--exp", str(exp), str(tmp_path / "out"), "--sparsity", "0.8"]) == 2
    assert "error: --sparsity: 2:4 removes 0.5 at most, not 0.8" in capsys.readouterr().err


def test_a_network_without_prunable_layers_is_not_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = "model.encoder={name: lstm, dim: 16, num_layers: 2, time_reduction_layer: 1}"
    exp = write_experiment(tmp_path / "exp", encoder)
    assert run(extract.main, ["--exp", str(exp), str(tmp_path / "out"), "--sparsity", "0.5"]) == 2
    assert "--sparsity: no layer of the network can be masked" in capsys.readouterr().err
