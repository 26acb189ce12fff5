"""Shards that are not what their tables say, and outputs of `dualtk shard` that hold something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dualtk.data.remote as remote_module

pytestmark = pytest.mark.slow

AUDIO = ["--set", "features.num_mels=16", "--set", "features.source=audio", "--set", "features.speeds=[1.0]"]


@pytest.fixture
def shards(made):
    """The world, with `shards` of its features."""
    assert made("shard", "made/corpus", "shards").status == 0
    return made


@pytest.fixture
def remote(world):
    """The world, with a folder `remote` of audio in shards, and its URL."""
    assert world("features", *AUDIO, "--out", "audio", "--train", "corpus").status == 0
    assert world("shard", "audio/corpus_audio", "remote", "--hours", "0.0005").status == 0
    return world, f"file://{world.path}/remote"


@pytest.mark.parametrize("change", ["zeros", "cut"])
def test_a_fetched_tar_is_what_its_table_says(remote, change) -> None:
    world, url = remote
    assert world("shard", url, "here").status == 0
    tar = min(Path("remote").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    if change == "zeros":
        data[8000:9000] = bytes(1000)
    tar.write_bytes(data if change == "zeros" else data[:-512])
    result = world("validate", "--decode-audio", "here")
    assert result.status == 2
    assert f"{tar.name}: altered or cut short" in result.out + result.err


def test_a_tar_of_the_same_name_is_fetched_anew(remote) -> None:
    world, url = remote
    assert world("shard", url, "here", "--cache", "cache").status == 0
    assert world("validate", "here").status == 0
    for path in Path("cache").glob("*.tar"):
        path.rename(path.with_name(f"{'0' * 12}-{path.name.partition('-')[2]}"))
    before = {path.name for path in Path("cache").glob("*.tar")}
    assert world("validate", "here").status == 0
    assert before < {path.name for path in Path("cache").glob("*.tar")}


@pytest.mark.parametrize(
    "text", ["<html>", "[1]", '{"shards": []}', '{"source": "audio", "shards": [{"x": 1}]}', "\xff"]
)
def test_a_list_of_shards_that_is_none_is_named(remote, text) -> None:
    world, url = remote
    Path("remote/shards.json").write_bytes(text.encode("latin-1"))
    assert f"{url}/shards.json" in world.refused("shard", url, "here")
    assert not Path("here/utt2spk").exists()


def test_a_tar_of_somebody_else_stays(shards) -> None:
    Path("shards/mine.tar").write_text("mine")
    assert "mine.tar" in shards.refused("shard", "made/corpus", "shards", "--seed", "3")
    assert Path("shards/mine.tar").read_text() == "mine"


@pytest.mark.parametrize("out", ["shards", "./shards/", "other"])
def test_a_mixture_takes_no_tables_from_tars(shards, out) -> None:
    shutil.copytree("shards", "other")
    before = Path("shards/shards.json").read_text(), Path("other/shards.json").read_text()
    shards.refused("shard", "--mix", "shards", out)
    assert before == (Path("shards/shards.json").read_text(), Path("other/shards.json").read_text())


@pytest.mark.parametrize("amount", ["1e-300", "1e308", "1e300h", "1e-12h"])
def test_a_part_is_read_a_sensible_number_of_times(shards, amount) -> None:
    result = shards("shard", "--mix", f"shards={amount}", "mixed")
    assert result.status == 2
    assert f"shards={amount}" in result.err
    assert not Path("mixed/shards.json").exists()


@pytest.mark.parametrize("command", ["features", "shard", "decode"])
def test_a_set_of_which_nothing_can_be_read_is_refused(made, command) -> None:
    if command == "features":
        for path in Path("corpus/audio").iterdir():
            path.write_bytes(path.read_bytes()[:2000])
        line = made.refused("features", "--set", "features.num_mels=16", "--out", "all", "corpus", "--max-bad", "99")
        assert not Path("all/corpus/feats.scp").exists()
    else:
        Path("made/corpus/utt2crc").write_text(
            "".join(f"{line.split()[0]} 00000001\n" for line in Path("made/corpus/utt2crc").read_text().splitlines())
        )
        arguments = (
            made.decode("--max-bad", 99) if command == "decode" else ("shard", "made/corpus", "out", "--max-bad", 99)
        )
        line = made.refused(*arguments)
        assert not Path("decoded").exists()
        assert not Path("out/feats.scp").exists()
    assert "not one utterance can be read" in line
    assert "utterance s" in line


def test_facts_are_written_as_they_are_read(shards) -> None:
    assert shards("shard", "--mix", "shards=2.5", "mixed").status == 0
    facts = json.loads(Path("mixed/shards.json").read_text())
    assert [one["weight"] for one in facts["shards"]] == [2.5]


@pytest.mark.parametrize("missing", ["wav.scp", "utt2spk", "utt2num_frames"])
def test_a_folder_at_a_url_that_is_not_whole_leaves_nothing(remote, missing) -> None:
    world, url = remote
    Path("remote", missing).unlink()
    assert missing in world.refused("shard", url, "here")
    assert not Path("here").exists()


def test_a_cache_that_holds_one_shard_fetches_each_once(remote, monkeypatch) -> None:
    world, url = remote
    fetched: list[str] = []
    copy = remote_module.copy
    monkeypatch.setattr(remote_module, "copy", lambda url, *more: (fetched.append(url), copy(url, *more))[1])
    assert world("shard", url, "here", "--cache-gb", "1e-9").status == 0
    fetched.clear()
    assert world("validate", "here").status == 0
    assert len(fetched) == len(set(fetched)) == len(list(Path("remote").glob("*.tar"))) > 1
