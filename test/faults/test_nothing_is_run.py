"""What a stage reads is data: no file of an experiment runs code, and no name in one leads out of the folder."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from faults_world import World, edit

from dualtk.data.download import download_set
from dualtk.errors import InputError

pytestmark = pytest.mark.slow

PROOF = "it-ran"  # the file that appears if code of a hostile file runs


class Bomb:
    """What makes the file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (PROOF,)


def outside(world: World) -> set[str]:
    """All that lies beside the world's folder."""
    return {path.name for path in world.path.parent.iterdir()}


def test_the_bomb_is_one(world) -> None:
    pickle.loads(pickle.dumps(Bomb()))
    assert Path(PROOF).is_dir()


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_network_is_not_unpickled(made, how: str) -> None:
    content = io.BytesIO()
    pickle.dump(Bomb(), content) if how == "pickle" else torch.save({"weight": Bomb()}, content)
    Path("exp/model.safetensors").write_bytes(content.getvalue())
    for command in (made.decode(), ("pack", "exp", "packed"), ("export", "exp", "out", "--to", "onnx")):
        assert "model.safetensors" in made.refused(*command)
    begun = made.train("init={exp: exp}")
    assert "model.safetensors" in made.refused(*begun)
    assert not Path(PROOF).exists()


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_training_state_is_not_unpickled(made, how: str) -> None:
    assert made(*made.train()).status == 0
    state = Path("new/checkpoints/last.pt")
    content = io.BytesIO()
    pickle.dump(Bomb(), content) if how == "pickle" else torch.save({"step": 1, "network": Bomb()}, content)
    state.write_bytes(content.getvalue())
    assert str(state) in made.refused(*made.train("train.max_steps=2"))
    assert not Path(PROOF).exists()


@pytest.mark.parametrize("tag", [f"!!python/object/apply:os.mkdir [{PROOF}]", f"!!python/name:os.mkdir {PROOF}"])
def test_a_yaml_names_no_code(made, tag: str) -> None:
    Path("mine.yaml").write_text(f"base: exp/config.yaml\ntrain: {tag}\n")
    assert "mine.yaml" in made.refused("config", "show", "mine.yaml")
    edit("exp/config.yaml", lambda text: text + f"more: {tag}\n")
    assert "config.yaml" in made.refused(*made.decode())
    assert not Path(PROOF).exists()


@pytest.mark.parametrize("value", [f"mkdir {PROOF} |", f"| mkdir {PROOF}", f"$(mkdir {PROOF})", f"`mkdir {PROOF}`"])
def test_tables_run_no_command(made, value: str) -> None:
    first = Path("corpus/wav.scp").read_text().split()[0]
    edit("corpus/wav.scp", lambda text: "\n".join([f"{first} {value}", *text.splitlines()[1:]]) + "\n")
    assert first in made.refused("features", "--set", "features.num_mels=16", "--out", "other", "--train", "corpus")
    edit("made/corpus/feats.scp", lambda text: "\n".join([f"{first} {value}", *text.splitlines()[1:]]) + "\n")
    assert f"feats.scp:1: utterance {first}" in made.refused(*made.decode())
    assert not Path(PROOF).exists()


@pytest.mark.parametrize("name", ["../../evil", "..", "/evil", "a/../../evil", '"><script>evil</script>'])
def test_the_name_of_an_utterance_is_no_path(world, name: str) -> None:
    """Through every stage that writes: features, shards, decoding, scores, the page."""
    before = outside(world)
    first = Path("corpus/text").read_text().split()[0]
    for table in ("wav.scp", "text", "utt2spk"):
        edit(f"corpus/{table}", lambda text: text.replace(f"{first} ", f"{name} ", 1))
    result = world.make_features()
    assert result.status == 0, result.err
    assert world("shard", "made/corpus", "shards").status == 0
    assert world(*world.decode("--out", "exp/decode/corpus-full")).status == 0
    assert world("score", "--data", "made/corpus", "--decode", "exp/decode/corpus-full").status == 0
    assert world("report", "exp", "--out", "page.html", "--data", "made/corpus").status == 0
    assert "<script>evil" not in Path("page.html").read_text()
    assert outside(world) == before
    assert not Path("/evil").exists()
    with tarfile.open(next(Path("shards").glob("*.tar"))) as tar:
        assert not [one for one in tar.getnames() if "/" in one or one.startswith(".")]


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "hard link", "device"])
def test_an_archive_unpacks_nothing_outside(tmp_path, kind: str) -> None:
    """A corpus that is downloaded: the archive is there already, of a server without sums."""
    root, outside = tmp_path / "corpus", tmp_path / "outside"
    root.mkdir()
    outside.write_text("mine")
    member = tarfile.TarInfo({"above": "../outside", "absolute": str(outside)}.get(kind, "LibriSpeech/dev-clean/x"))
    if kind in ("link", "hard link"):
        member.type = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE
        member.linkname = str(outside) if kind == "link" else "../outside"
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    else:
        member.size = 4
    with tarfile.open(root / "dev-clean.tar.gz", "w:gz") as tar:
        tar.addfile(member, io.BytesIO(b"evil") if member.size else None)
    with pytest.raises(InputError, match=r"dev-clean"):
        download_set(root, "dev-clean", "http://127.0.0.1:9/12", progress=False)
    assert outside.read_text() == "mine"
    assert not (root / "LibriSpeech").exists()
