"""`dualtk analyse` on a network that `dualtk train` made, and the way of its figures into the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import WORDS, train_arguments, write_set

from dualtk.bin import analyse, decode, report, results, score, train
from dualtk.bin.dualtk import run
from dualtk.data.kinds import write_options
from dualtk.data.samples import SampleOptions
from dualtk.data.tokens import TokenOptions, write_tokenizer

WAV2VEC = "{name: wav2vec, dim: 16, num_layers: 2, num_heads: 2, feedforward_dim: 24, dropout: 0.1, channels: 8}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("corpus")
    for seed, name in enumerate(("train", "dev"), start=1):
        write_set(folder / name, 8, seed)
        texts = dict(line.split(" ", 1) for line in (folder / name / "text").read_text().splitlines())
        (folder / name / "utt2spk").write_text("".join(f"{utterance} spk\n" for utterance in texts))
        ctm = [
            f"{name} 1 {0.1 * n} 0.1 {word}\n" for name, text in texts.items() for n, word in enumerate(text.split())
        ]
        (folder / name / "words.ctm").write_text("".join(ctm))
    write_tokenizer(folder / "lang", [*texts.values(), " ".join(WORDS)], TokenOptions(size=26))
    return folder


@pytest.fixture(scope="module")
def experiment(corpus: Path) -> Path:
    exp = corpus / "exp" / "tiny"
    assert train.main(train_arguments(corpus, exp, "train.max_steps=4")) == 0
    return exp


def options(corpus: Path, *more: str) -> list[str]:
    return ["--data", str(corpus / "dev"), "--tokens", str(corpus / "lang"), "--num", "3", *more]


@pytest.mark.slow
def test_all_figures_and_from_there_into_the_report(corpus: Path, experiment: Path) -> None:
    pytest.importorskip("sklearn")
    assert analyse.main([str(experiment), *options(corpus)]) == 0
    drawn = {path.stem for path in (experiment / "analysis").glob("*.svg")}
    assert drawn == {
        "emission",
        "alignment",
        "entropy-full",
        "entropy-streaming",
        "similar-full",
        "similar-streaming",
        "layer-distances",
        "tsne",
        "attention",
    }
    for name in drawn:
        assert (experiment / "analysis" / f"{name}.tsv").read_text().count("\n") > 1
    for mode in ("full", "streaming"):
        common = ["--data", str(corpus / "dev")]
        decode.main([*common, "--exp", str(experiment), "--tokens", str(corpus / "lang"), "--mode", mode])
        score.main([*common, "--decode", str(experiment / "decode" / f"dev-{mode}")])
    assert results.main([str(experiment)]) == 0
    assert report.main([str(experiment)]) == 0
    page = (experiment / "report.html").read_text()
    for title in ("Emission lattices", "Alignments", "Distance of hidden vectors", "Learning rate"):
        assert f"<strong>{title}.</strong>" in page


@pytest.mark.slow
def test_one_utterance_in_one_mode(corpus: Path, experiment: Path, tmp_path: Path) -> None:
    chosen = ["--what", "emission", "--mode", "streaming", "--utterance", "spk-2-005", "--out", str(tmp_path)]
    assert analyse.main([str(experiment), *options(corpus), *chosen]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emission.png", "emission.svg", "emission.tsv"]
    table = (tmp_path / "emission.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in table[1:]} == {"streaming"}


def test_two_experiments_are_named_apart(corpus: Path, experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(experiment)
    (tmp_path / "copy").mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / "copy" / name).symlink_to(experiment / name)
    chosen = ["--what", "distances", "--out", str(tmp_path / "out")]
    assert analyse.main([str(experiment), str(tmp_path / "copy"), *options(corpus), *chosen]) == 0
    rows = [line.split("\t") for line in (tmp_path / "out/layer-distances.tsv").read_text().splitlines()]
    assert rows[1] == ["copy streaming to tiny streaming", "1", "0", "0"]


@pytest.mark.slow
def test_each_experiment_in_a_mode_of_its_own(corpus: Path, experiment: Path, tmp_path: Path) -> None:
    """A full-context network against a streaming one, which have no mode in common."""
    alone = corpus / "exp/alone"
    lone = ["train.max_steps=2", "modes.streaming=null", "passes.streaming=null"]
    assert train.main(train_arguments(corpus, alone, *lone)) == 0
    streaming = corpus / "exp/streaming"
    lone = ["train.max_steps=2", "modes.full=null", "passes.full=null"]
    assert train.main(train_arguments(corpus, streaming, *lone)) == 0
    chosen = ["--what", "distances", "alignment"]
    usual, named, two = tmp_path / "usual", tmp_path / "named", tmp_path / "two"
    assert analyse.main([str(alone), str(streaming), *options(corpus, *chosen, "--out", str(usual))]) == 0
    places = [f"{alone}:full", f"{streaming}:streaming"]
    assert analyse.main([*places, *options(corpus, *chosen, "--out", str(named))]) == 0
    for name in ("layer-distances.tsv", "alignment.tsv"):
        assert (named / name).read_text() == (usual / name).read_text()
    distances = [line.split("\t") for line in (usual / "layer-distances.tsv").read_text().splitlines()[1:]]
    assert {row[0] for row in distances} == {"streaming streaming to alone full"}
    assert all(float(row[2]) > 0 for row in distances)
    places = [f"{experiment}:full", f"{experiment}:streaming", str(alone)]
    assert analyse.main([*places, *options(corpus, *chosen, "--out", str(two))]) == 0
    rows = {line.split("\t")[0] for line in (two / "layer-distances.tsv").read_text().splitlines()[1:]}
    assert rows == {"tiny streaming to tiny full", "alone full to tiny full"}


@pytest.mark.slow
def test_raw_samples_reach_no_further_than_their_frame(corpus: Path, tmp_path: Path) -> None:
    """Emission falls on the edge of a frame, where log-mel waits for the rest of its window."""
    for name in ("train", "dev"):
        write_set(tmp_path / name, 6, seed=3, dim=SampleOptions().dim)
        write_options(tmp_path / name, SampleOptions())
    (tmp_path / "lang").symlink_to(corpus / "lang")
    overrides = ["features={kind: samples}", f"model.encoder={WAV2VEC}", "augment=null", "train.max_steps=1"]
    assert train.main(train_arguments(tmp_path, tmp_path / "exp", *overrides, "train.save_every=1")) == 0
    chosen = ["--what", "alignment", "--mode", "streaming"]
    assert analyse.main([str(tmp_path / "exp"), *options(tmp_path, *chosen)]) == 0
    rows = (tmp_path / "exp/analysis/alignment.tsv").read_text().splitlines()[1:]
    hundredths = [100 * float(row.split("\t")[2]) for row in rows]
    assert hundredths == pytest.approx([round(time) for time in hundredths])


@pytest.mark.slow
def test_curves_need_no_data(experiment: Path, tmp_path: Path) -> None:
    assert analyse.main([str(experiment), "--what", "training", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "tiny-loss.tsv").read_text().startswith("kind\tloss\tstep\tvalue\ntrain\t")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "emission"], "need --data DIR"),
        (["--what", "teacher-error"], "has no term encoder_logits"),
    ],
)
def test_faults_are_named(
    experiment: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(analyse.main, [str(experiment), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_unknown_utterance_mode_and_folder(corpus: Path, experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(analyse.main, [str(experiment), *options(corpus, "--what", "emission", "--utterance", "nobody")]) == 2
    assert "has no utterance nobody" in capsys.readouterr().err
    assert run(analyse.main, [str(experiment), *options(corpus, "--what", "emission", "--mode", "odd")]) == 2
    assert "has no mode odd" in capsys.readouterr().err
    assert run(analyse.main, [f"{experiment}:odd", *options(corpus, "--what", "emission")]) == 2
    assert "has no mode odd" in capsys.readouterr().err
    twice = [f"{experiment}:full", f"{experiment}:full"]
    assert run(analyse.main, [*twice, *options(corpus, "--what", "emission")]) == 2
    assert "tiny full is there twice" in capsys.readouterr().err
    assert run(analyse.main, [f"{corpus / 'none'}:full", "--what", "training"]) == 2
    assert "none: no such experiment folder" in capsys.readouterr().err
    assert run(analyse.main, [str(corpus / "none"), "--what", "training"]) == 2
