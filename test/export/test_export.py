"""`dualtk export`: unmodified sherpa-onnx and onnxruntime decode what was written as PyTorch does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small_experiment import write_experiment
from small_networks import small_transducer, speech

from dualtk.bin import export as command
from dualtk.bin.dualtk import run
from dualtk.data.kinds import extract
from dualtk.export import contracts, folder
from dualtk.export.comparison import tail_samples
from dualtk.export.graphs import LabelWindow
from dualtk.export.sherpa import SherpaDecoder
from dualtk.modes import Mode
from dualtk.pruning.masks import prunable_layers
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.decoder import open_decoder
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment
from dualtk.trained import load as load_trained

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
sherpa_onnx = pytest.importorskip("sherpa_onnx")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/onnx_decode.py"
STREAMING = "modes.streaming={left_context: 8, chunk: 2}"
NETWORKS = {
    "conformer": [STREAMING],
    "rotary positions, look-ahead": [
        "modes.streaming={left_context: 4, chunk: 3, look_ahead_ms: 60}",
        "model.encoder.positions=rotary",
        "model.encoder.convolution_norm=layer",
    ],
    "frames of 80 ms": [STREAMING, "model.encoder.subsampling_factor=8", "model.encoder.positions=none"],
    "transformer, frames of 30 ms": [
        "modes.streaming={left_context: 10, chunk: 1}",
        "model.encoder={name: transformer, dim: 16, num_layers: 2, num_heads: 2, feedforward_dim: 24}",
    ],
    "contextnet": [
        "modes.streaming={left_context: null, chunk: 2}",
        "model.encoder={name: contextnet, alpha: 0.0625, layers_per_block: 1}",
        "model.joiner={name: additive, activation: identity}",
    ],
    "lstm": [
        "modes.streaming={left_context: null, chunk: 1}",
        "model.encoder={name: lstm, dim: 16, num_layers: 3, stacking: 4, time_reduction: 1}",
        "model.predictor={name: lstm, embedding_dim: 8, dim: 12, num_layers: 2}",
    ],
}


def facts_of(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((out / "export.json").read_text(encoding="utf-8"))
    return facts


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of noise; one is shorter than a chunk, one of another rate."""
    where = tmp_path_factory.mktemp("sounds")
    for index, (seconds, rate) in enumerate([(4.0, 16000), (0.03, 16000), (2.77, 16000), (1.5, 8000)]):
        soundfile.write(where / f"{index}.wav", speech(round(seconds * rate), index).numpy(), rate, subtype="PCM_16")
    return sorted(where.glob("*.wav"))


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sounds: list[Path]
) -> tuple[Path, Path]:
    """An experiment, and the folder that sherpa-onnx reads."""
    where = tmp_path_factory.mktemp("exported")
    exp = write_experiment(where / "exp", *NETWORKS[request.param])
    arguments = [exp, where / "out", "--to", "sherpa-onnx", "--labels", "128", "--files", *sounds]
    assert run(command.main, [str(one) for one in arguments]) == 0
    return exp, where / "out"


def test_sherpa_onnx_writes_what_pytorch_writes(exported: tuple[Path, Path]) -> None:
    for mode, facts in facts_of(exported[1])["comparison"].items():
        assert facts["largest_difference"] < 1e-4, mode
        assert facts["changed_words"] == 0, mode
        assert facts["letters"] > 20, mode
        assert facts["utterances"] == 4, mode


def decoded_together(out: Path, mode: Mode, sounds: list[Path]) -> list[str]:
    recognizer = SherpaDecoder(out, mode, 16, tail_samples(mode, 8)).recognizer
    streams = []
    for sound in sounds:
        samples, rate = soundfile.read(sound, dtype="float32")
        streams.append(recognizer.create_stream())
        streams[-1].accept_waveform(rate, np.concatenate([samples, np.zeros(rate, np.float32)]))
        streams[-1].input_finished()
    while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)
    return [recognizer.get_result(stream) for stream in streams]


def test_streams_that_are_stepped_together_keep_apart(exported: tuple[Path, Path], sounds: list[Path]) -> None:
    exp, out = exported
    mode = load_trained(exp).mode("streaming")
    together = decoded_together(out, mode, sounds)
    assert together == [decoded_together(out, mode, [sound])[0] for sound in sounds]
    assert any(together)


def test_beam_search_of_one_path_is_greedy(exported: tuple[Path, Path]) -> None:
    names = {key: str(exported[1] / f"{file}.onnx") for key, file in (("decoder", "decoder"), ("joiner", "joiner"))}
    texts = set()
    for search in (
        {"decoding_method": "greedy_search"},
        {"decoding_method": "modified_beam_search", "max_active_paths": 1},
    ):
        recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
            encoder=str(exported[1] / "encoder-full.onnx"),
            tokens=str(exported[1] / "tokens.txt"),
            feature_dim=16,
            **names,
            **search,
        )
        stream = recognizer.create_stream()
        stream.accept_waveform(16000, speech(40000, 5).numpy())
        recognizer.decode_stream(stream)
        texts.add(stream.result.text)
    assert len(texts) == 1
    assert texts != {""}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network with an LSTM predictor, and its plain graphs."""
    where = tmp_path_factory.mktemp("plain")
    predictor = "model.predictor={name: lstm, embedding_dim: 8, dim: 12, num_layers: 2, projection_dim: 6}"
    exp = write_experiment(where / "exp", STREAMING, predictor)
    assert run(command.main, [str(exp), str(where / "out"), "--to", "onnx"]) == 0
    return exp, where / "out"


def test_plain_graphs_decode_as_pytorch_does(plain: tuple[Path, Path]) -> None:
    comparison = facts_of(plain[1])["comparison"]
    assert set(comparison) == {"full", "streaming"}
    for facts in comparison.values():
        assert facts["largest_difference"] < 1e-4
        assert facts["changed_words"] == 0
        assert facts["letters"] > 10


def test_the_example_decodes_without_torch(plain: tuple[Path, Path], sounds: list[Path]) -> None:
    exp, out = plain
    program = f"import runpy, sys; sys.modules['torch'] = None; sys.argv[:1] = []; runpy.run_path({str(EXAMPLE)!r})"
    for mode in ("full", "streaming"):
        arguments = [str(EXAMPLE), str(out), mode, str(sounds[0]), str(sounds[2])]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        wanted = [in_pytorch(exp, mode, sound) for sound in (sounds[0], sounds[2])]
        assert [" ".join(line.split()) for line in done.stdout.splitlines()] == wanted, mode
        assert all(wanted)


def in_pytorch(exp: Path, mode_name: str, sound: Path) -> str:
    """The text of a file; of a stream with the silence that the example puts after it, in whole windows."""
    trained = load_trained(exp)
    mode = trained.mode(mode_name)
    decoder = open_decoder(trained.network, mode, SearchOptions().build(trained.network, trained.tokenizer.pieces))
    samples = torch.from_numpy(soundfile.read(sound, dtype="float32")[0])
    if isinstance(decoder, WholeDecoder):
        feats = extract(samples, 16000, trained.system.features)
        tokens = decoder.decode(feats.unsqueeze(0), torch.tensor([len(feats)]))[0][0].tokens
    else:
        silence = torch.zeros(160 * decoder.chunk_features + 8000)
        session = decoder.open()
        session.push_features(extract(torch.cat([samples, silence]), 16000, trained.system.features))
        decoder.advance([session])
        tokens = session.best.tokens
    return " ".join(trained.tokenizer.decode(tokens).split())


def test_the_example_is_short() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert {line.split()[1] for line in lines if line.startswith(("import", "from"))} <= {
        *sys.stdlib_module_names,
        "numpy",
        "onnxruntime",
    }


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_other_precisions_are_smaller(plain: tuple[Path, Path], tmp_path: Path, precision: str) -> None:
    wide = ["model.encoder.dim=64", "model.encoder.feedforward_dim=256"]
    exp = write_experiment(tmp_path / "exp", STREAMING, *wide)
    sizes = {}
    for one in ("float32", precision):
        out = tmp_path / one
        options = ["--to", "onnx", "--mode", "streaming", "--precision", one]
        status = run(command.main, [str(exp), str(out), *options])
        # Random weights lie near each other's labels; what they say in fewer bits may be refused.
        assert status == 0 or one != "float32"
        if status == 0:
            sizes[one] = (out / "encoder-streaming.onnx").stat().st_size
    if precision in sizes:
        assert sizes[precision] < 0.7 * sizes["float32"]


def test_a_sparse_mode_is_written_as_it_is(tmp_path: Path) -> None:
    mode = "modes.streaming={left_context: 8, chunk: 2, sparsity: 0.5}"
    exp = write_experiment(
        tmp_path / "exp",
        mode,
        "pruning={pattern: unstructured, scope: layer, schedule: {shape: constant, start_step: 0}}",
    )
    trained = load_trained(exp)
    pruner = trained.system.build_pruner(trained.network)
    assert pruner is not None
    pruner.draw(1.0)
    save_network(Experiment(exp, writes=False).network_file, trained.network.state_dict())
    assert run(command.main, [str(exp), str(tmp_path / "out"), "--to", "onnx", "--mode", "both"]) == 0
    assert len(facts_of(tmp_path / "out")["comparison"]) == 2
    weights = {
        name: sum(
            int(np.count_nonzero(onnx.numpy_helper.to_array(one)))
            for one in onnx.load(tmp_path / f"out/encoder-{name}.onnx").graph.initializer
            if len(one.dims) == 2
        )
        for name in ("full", "streaming")
    }
    prunable = sum(layer.weight.numel() for layer in prunable_layers(trained.network).values())
    assert weights["streaming"] < weights["full"] - 0.3 * prunable


def test_a_window_of_labels_is_the_whole_predictor_while_it_holds_them() -> None:
    network = small_transducer()
    window = LabelWindow(network, 6)
    labels = [3, 1, 4, 6, 2]
    wanted = network.joiner.predictor(network.predictor(torch.tensor([labels])))[0]
    for count in range(len(labels) + 1):
        rows = torch.tensor([[-1] * (5 - count) + [0] + labels[:count]])
        torch.testing.assert_close(window(rows)[0], wanted[count])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(command.main, [str(one) for one in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp, out = write_experiment(tmp_path / "a", "modes.streaming={left_context: null, chunk: 2}"), tmp_path / "out"
    assert "modes.streaming.left_context" in refusal(capsys, exp, out, "--to", "onnx")
    assert "has no mode chunked" in refusal(capsys, exp, out, "--to", "onnx", "--mode", "chunked")
    assert "--chunk-ms" in refusal(capsys, exp, out, "--to", "onnx", "--mode", "full", "--chunk-ms", "80")
    assert "nothing.wav" in refusal(capsys, exp, out, "--to", "onnx", "--files", tmp_path / "nothing.wav")
    other = write_experiment(tmp_path / "b", STREAMING, "features.high_frequency=8000")
    assert "7600 Hz" in refusal(capsys, other, out, "--to", "sherpa-onnx")
    assert not out.exists()
    out.mkdir()
    assert "exists already" in refusal(capsys, exp, out, "--to", "onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "sherpa_onnx"])
def test_a_missing_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    exp = write_experiment(tmp_path / "exp", STREAMING)
    monkeypatch.setitem(sys.modules, package, None)
    line = refusal(capsys, exp, tmp_path / "out", "--to", "sherpa-onnx")
    assert package.replace("_", "-") in line.replace("_", "-")
    assert "dualtk[export]" in line


def test_a_network_that_decodes_otherwise_is_not_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exp, out = write_experiment(tmp_path / "exp", STREAMING), tmp_path / "out"

    def other(network: Any, mode: Mode, target: contracts.Target) -> Any:
        graph = contracts.encoder_graph(network, mode, target)
        with torch.no_grad():
            graph.module.network.joiner.encoder.bias[0] += 0.3  # type: ignore[union-attr, index, operator]
        return graph

    monkeypatch.setattr(folder, "encoder_graph", other)
    line = refusal(capsys, exp, out, "--to", "onnx")
    assert re.search(r"mode (full|streaming): a frame of the exported encoder differs by \d", line)
    assert not out.exists()
