"""Extraction into a data directory: by one process or several, interrupted or not, the same bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from extracted import contents

from dualtk.data.arks import read_cmvn
from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.features import SetPart, extract_set, require_folders, set_folder
from dualtk.data.kinds import extract
from dualtk.data.selection import select_utterances
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.tables import read_table, write_table

OPTIONS = FbankOptions()


def test_kaldi_reads_what_we_write(make_directory, extract_features, tmp_path):
    source = make_directory(tmp_path / "train", count=20)
    directory = extract_features(source, cmvn=True)
    feats = kaldiio.load_scp(str(directory / "feats.scp"))
    assert list(feats) == list(read_table(directory / "wav.scp"))
    for name, path in read_table(directory / "wav.scp").items():
        samples, rate = soundfile.read(path, dtype="float32")
        np.testing.assert_array_equal(feats[name], fbank(torch.from_numpy(samples), rate).numpy())
        assert read_table(directory / "utt2num_frames")[name] == str(len(feats[name]))
        assert float(read_table(directory / "utt2dur")[name]) == pytest.approx(len(samples) / rate, abs=1e-4)
    mean, istd = read_cmvn(directory / "cmvn.ark")
    frames = np.concatenate(list(feats.values())).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(istd, 1 / frames.std(0), rtol=1e-4)
    assert validate(directory, decode_audio=True) == []


@pytest.mark.slow
def test_processes_do_not_matter(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train", count=23)
    for num_jobs in (1, 2):
        extract_set(directory, tmp_path / str(num_jobs), OPTIONS, cmvn=True, num_jobs=num_jobs, progress=False)
    assert contents(tmp_path / "1" / "train") == contents(tmp_path / "2" / "train")


def test_skipped_only_when_nothing_changed(make_directory, write_audio, replace_line, tmp_path):
    directory, out = make_directory(tmp_path / "train"), tmp_path / "features"
    few = FbankOptions(num_mels=40)

    def written(options=OPTIONS, **arguments):
        return extract_set(directory, out, options, progress=False, **arguments)

    assert written()
    assert not written()
    assert written(cmvn=True)
    assert not written(cmvn=True)
    assert not written()
    assert (out / "train" / "cmvn.ark").exists()
    assert written(few)
    assert not (out / "train" / "cmvn.ark").exists(), "that of other features"
    assert not written(few.model_copy(update={"speeds": (0.9, 1.0)})), "speeds decide no frame"
    write_audio(directory / "audio" / "s0-000.wav", 0.8, seed=99)
    assert written(few)
    assert read_table(out / "train" / "utt2num_frames")["s0-000"] == "80"
    (out / "train" / "feats.3.ark").unlink()
    assert written(few)
    replace_line(directory / "text", 1, "s0-000 OTHER WORDS")
    arks = {path: path.stat().st_mtime_ns for path in (out / "train").glob("*.ark")}
    assert written(few)
    assert read_table(out / "train" / "text")["s0-000"] == "OTHER WORDS"
    assert {path: path.stat().st_mtime_ns for path in arks} == arks


def test_what_audio_holds_counts_and_not_its_date_or_place(make_directory, write_audio, tmp_path):
    directory = make_directory(tmp_path / "train", count=20)

    def extract(source=directory):
        return str(extract_set(source, tmp_path / "features", OPTIONS, cmvn=True, progress=False))

    assert extract() == "written"
    first, second = directory / "audio/s0-000.wav", directory / "audio/s1-007.wav"  # both of 0.3 s
    before, date = first.read_bytes(), first.stat().st_mtime_ns
    os.utime(second)
    shutil.copy(first, first.with_suffix(".again"))
    first.with_suffix(".again").replace(first)
    assert extract() == "unchanged", "another date and another inode, the same audio"
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(date, date))
    assert len(first.read_bytes()) == len(before)
    assert extract() == "written, 1 of 20 utterances"
    feats = kaldiio.load_scp(str(tmp_path / "features/train/feats.scp"))
    np.testing.assert_array_equal(feats["s0-000"], feats["s1-007"])
    assert extract() == "unchanged"
    shutil.move(directory / "audio", directory / "sound")
    write_table(directory / "wav.scp", {name: directory / f"sound/{name}.wav" for name in feats})
    assert extract() == "unchanged, tables written"
    assert validate(tmp_path / "features/train", decode_audio=True) == []


def test_an_archive_that_changed_is_made_again(make_directory, tmp_path):
    directory, out = make_directory(tmp_path / "train"), tmp_path / "features"
    assert extract_set(directory, out, OPTIONS, progress=False)
    ark = out / "train/feats.2.ark"
    before = ark.read_bytes()
    ark.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert str(extract_set(directory, out, OPTIONS, progress=False)) == "written, 1 of 5 utterances"
    assert ark.read_bytes() == before


def test_code_that_makes_other_features_makes_all_again(make_directory, tmp_path, monkeypatch):
    directory, out = make_directory(tmp_path / "train"), tmp_path / "features"
    assert extract_set(directory, out, OPTIONS, progress=False)
    for change, done in ((1e-5, "unchanged"), (1e-2, "written")):
        monkeypatch.setattr("dualtk.data.feature_shards.extract", lambda *inputs, by=change: extract(*inputs) + by)
        assert str(extract_set(directory, out, OPTIONS, progress=False)) == done


@pytest.mark.parametrize("how", ["together", "features alone", "copied", "data alone"])
def test_a_moved_folder_is_known_again(make_directory, tmp_path, how):
    old, new = tmp_path / "old", tmp_path / "new"
    directory = make_directory(old / "data/train")
    write_table(directory / "wav.scp", {name: f"audio/{name}.wav" for name in read_table(directory / "wav.scp")})
    assert extract_set(directory, old / "features", OPTIONS, cmvn=True, progress=False)
    moved = {"together": ".", "features alone": "features", "data alone": "data", "copied": "."}[how]
    (new / moved).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if how == "copied" else shutil.move)(old / moved, new / moved)
    directory = new / "data/train" if how != "features alone" else directory
    out = new / "features" if how != "data alone" else old / "features"
    arks = {path: path.stat().st_mtime_ns for path in out.rglob("*.ark")}
    assert str(extract_set(directory, out, OPTIONS, cmvn=True, progress=False)) == "unchanged, tables written"
    assert {path: path.stat().st_mtime_ns for path in arks if path.name != "cmvn.ark"} == {
        path: time for path, time in arks.items() if path.name != "cmvn.ark"
    }
    scp = (out / "train/feats.scp").read_text() + (out / "train/wav.scp").read_text()
    assert str(new if how != "features alone" else out) in scp
    assert validate(out / "train", decode_audio=True) == []
    assert str(extract_set(directory, out, OPTIONS, cmvn=True, progress=False)) == "unchanged"


def test_audio_of_the_same_name_elsewhere_is_not_taken(make_directory, tmp_path):
    """What wav.scp names is gone; in the data directory lies other audio of the same name."""
    directory = make_directory(tmp_path / "train")
    shutil.copy(directory / "audio/s1-001.wav", directory / "s0-000.wav")
    (directory / "audio/s0-000.wav").unlink()
    with pytest.raises(InputError, match=r"wav.scp:1: s0-000: no audio file .*audio/s0-000.wav"):
        extract_set(directory, tmp_path / "features", OPTIONS, progress=False)


def test_fewer_utterances_leave_no_old_archives(make_directory, replace_line, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train", count=6)
    extract_features(directory)
    for name in ("wav.scp", "text", "utt2spk"):
        replace_line(directory / name, 6, None)
    folder = extract_features(directory)
    assert len(list(folder.glob("feats.*.ark"))) == len(list(folder.glob(".shards/*"))) == 5


def everything(directory):
    """All of a directory: times of folders and files, and every byte."""
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in (directory, *directory.rglob("*"))
    }


def test_the_data_directory_is_left_as_it_is(make_directory, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train")
    (directory / "words.ctm").write_text(";; by hand\ns0-000 1 0.10 0.1 WORD\nother 1 0 1 X\n")
    before = everything(directory)
    folder = extract_features(directory, cmvn=True)
    extract_features(directory, cmvn=True, speeds=(0.9, 1.0))
    assert everything(directory) == before
    assert validate(folder, decode_audio=True) == []
    for name in ("text", "utt2spk", "spk2utt", "utt2dur"):
        assert read_table(folder / name) == read_table(directory / name)
    assert (folder / "words.ctm").read_text() == "s0-000 1 0.10 0.1 WORD\n"
    (directory / "words.ctm").unlink()
    assert not (extract_features(directory) / "words.ctm").exists()


def test_paths_are_absolute(make_directory, monkeypatch, tmp_path):
    """What is written from one folder is read from any other, whatever lies there."""
    make_directory(tmp_path / "here" / "train")
    monkeypatch.chdir(tmp_path / "here")
    write_table(Path("train/wav.scp"), {name: f"train/audio/{name}.wav" for name in read_table(Path("train/wav.scp"))})
    assert extract_set(Path("train/"), Path("features"), OPTIONS, progress=False)
    folder = tmp_path / "here" / "features" / "train"
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for path in (tmp_path / "there").rglob("*.ark"):
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path / "there")
    assert validate(folder, decode_audio=True) == []
    assert all(Path(path).is_absolute() for path in read_table(folder / "wav.scp").values())
    monkeypatch.chdir(tmp_path / "here")
    assert not extract_set(tmp_path / "here" / "train", tmp_path / "here" / "features", OPTIONS, progress=False)


@pytest.mark.parametrize(
    ("directory", "speeds", "name"),
    [("a/train", (1.0,), "train"), ("a/train/", (0.9, 1.0), "train_sp"), ("a/../train", (1.1,), "train_sp")],
)
def test_folders_have_the_names_of_the_directories(directory, speeds, name):
    assert set_folder(Path(directory), Path("out"), speeds) == Path("out") / name


def test_a_directory_in_the_current_folder(monkeypatch, tmp_path):
    (tmp_path / "train").mkdir()
    monkeypatch.chdir(tmp_path / "train")
    assert set_folder(Path("."), Path("out")) == Path("out/train")


def test_two_directories_of_one_name_are_refused(make_directory, tmp_path):
    one, other = (make_directory(tmp_path / name / "test") for name in "ab")
    with pytest.raises(InputError, match=r"a/test and .*b/test have the same name") as caught:
        require_folders([(path, (1.0,), "stored") for path in (one, one, other)], tmp_path / "out")
    assert "\n" not in str(caught.value)
    sets = [(one, (1.0,), "stored"), (one / ".", (1.0,), "stored"), (other, (0.9, 1.0), "stored")]
    require_folders([*sets, (other, (1.0,), "audio")], tmp_path / "out")
    assert extract_set(one, tmp_path / "out", OPTIONS, progress=False)
    before = everything(tmp_path / "out")
    with pytest.raises(InputError, match=rf"out/test: was made from {one}, not from {other}: ") as caught:
        extract_set(other, tmp_path / "out", OPTIONS, progress=False)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path / "out") == before


def test_folders_of_others_are_left_alone(make_directory, tmp_path):
    directory = make_directory(tmp_path / "corpus" / "train")
    before = everything(directory)
    with pytest.raises(InputError, match="lies in the data directory"):
        extract_set(directory, directory.parent, OPTIONS, progress=False)
    with pytest.raises(InputError, match="lies in the data directory"):
        extract_set(directory, directory / "features", OPTIONS, progress=False)
    assert everything(directory) == before
    other = make_directory(tmp_path / "mine" / "train")
    before = everything(other)
    with pytest.raises(InputError, match=r"mine/train: exists and was not made from .*corpus/train"):
        extract_set(directory, other.parent, OPTIONS, progress=False)
    assert everything(other) == before


@pytest.mark.parametrize(
    ("table", "number", "line", "fault"),
    [
        ("text", 2, None, r"wav.scp:2: utterance s0-002 has no transcript"),
        ("text", 5, "s1-003 X\ns9-0 X", r"text:6: utterance s9-0 is not in wav.scp"),
        ("utt2spk", 2, None, r"wav.scp:2: utterance s0-002 has no line in utt2spk"),
        ("words.ctm", 1, "s0-000 1 nan 1 X", r"words.ctm:1: expected `utt channel start duration WORD`"),
    ],
)
def test_faulty_tables_are_refused_before_anything_is_written(
    make_directory, replace_line, tmp_path, table, number, line, fault
):
    directory = make_directory(tmp_path / "train")
    (directory / table).touch()
    replace_line(directory / table, number, line)
    with pytest.raises(InputError, match=fault):
        extract_set(directory, tmp_path / "features", OPTIONS, progress=False)
    assert not (tmp_path / "features").exists()


def test_segments(make_directory, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train", count=7)
    recording = "s0-006"  # 0.9 s
    write_table(directory / "segments", {"u1": f"{recording} 0.10 0.50", "u2": f"{recording} 0.50 0.901"})
    for name in ("text", "utt2spk"):
        write_table(directory / name, {"u1": "A", "u2": "B"})
    folder = extract_features(directory)
    assert validate(folder, decode_audio=True) == []
    assert read_table(folder / "segments") == read_table(directory / "segments")
    samples, _ = soundfile.read(directory / "audio" / f"{recording}.wav", dtype="float32")
    feats = kaldiio.load_scp(str(folder / "feats.scp"))
    np.testing.assert_array_equal(feats["u1"], fbank(torch.from_numpy(samples[1600:8000]), 16000).numpy())
    np.testing.assert_array_equal(feats["u2"], fbank(torch.from_numpy(samples[8000:]), 16000).numpy())


def test_speed_perturbation(make_directory, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train", count=3)
    output = extract_features(directory, speeds=(0.9, 1.0, 1.1), cmvn=True)
    assert output == tmp_path / "features" / "train_sp"
    assert not (output / "wav.scp").exists()
    names = list(read_table(output / "feats.scp"))
    originals = list(read_table(directory / "wav.scp"))
    assert names == sorted(originals + [f"sp{speed}-{name}" for speed in ("0.9", "1.1") for name in originals])
    assert read_table(output / "utt2spk")["sp0.9-s1-001"] == "sp0.9-s1"
    assert read_table(output / "spk2utt")["sp1.1-s0"] == "sp1.1-s0-000 sp1.1-s0-002"
    assert read_table(output / "text")["sp1.1-s0-002"] == read_table(directory / "text")["s0-002"]
    frames = {name: int(count) for name, count in read_table(output / "utt2num_frames").items()}
    assert frames["sp0.9-s0-002"] == round(frames["s0-002"] / 0.9)
    assert frames["sp1.1-s0-002"] == round(frames["s0-002"] / 1.1)
    assert validate(output) == []
    assert len(select_utterances(output).entries) == 9


@pytest.mark.parametrize("source", ["stored", "audio"])
def test_parts_make_what_one_command_makes(make_directory, tmp_path, source):
    """In any order, the tables by a last call without a part; nothing is extracted twice."""
    directory = make_directory(tmp_path / "train", 40)
    call = {"source": source, "cmvn": True, "progress": False}
    extract_set(directory, tmp_path / "whole", OPTIONS, **call)
    out = tmp_path / "parts"
    folder = set_folder(directory, out, source=source)
    done = [extract_set(directory, out, OPTIONS, part=SetPart(number, 3), **call) for number in (2, 3, 1)]
    assert sum(one.extracted for one in done) == 40
    assert str(done[0]).startswith("part 2/3, ")
    assert not (folder / "feats.scp").exists()
    assert not (folder / "utt2num_frames").exists()
    last = extract_set(directory, out, OPTIONS, **call)
    assert (last.extracted, last.tables) == (0, True)
    assert contents(folder) == contents(set_folder(directory, tmp_path / "whole", source=source))
    assert not list(folder.glob(".digests.json-*"))


def test_numbers_of_fewer_bytes(make_directory, tmp_path):
    """What Kaldi's reader gives of them, how near it is, and that only another form is made again."""
    directory = make_directory(tmp_path / "train", 12)
    plain = extracted_of(directory, tmp_path / "float32")
    sizes = {"float32": size_of(tmp_path / "float32")}
    for storage, error in (("two_bytes", 5e-4), ("one_byte", 0.2)):
        options = OPTIONS.model_copy(update={"storage": storage})
        extract_set(directory, tmp_path / storage, options, cmvn=True, progress=False)
        assert not extract_set(directory, tmp_path / storage, options, cmvn=True, progress=False)
        found = dict(kaldiio.load_scp(str(tmp_path / storage / "train/feats.scp")).items())
        assert max(float(np.abs(found[name] - matrix).max()) for name, matrix in plain.items()) < error
        stacked = np.concatenate(list(found.values())).astype(np.float64)
        np.testing.assert_allclose(
            kaldiio.load_mat(str(tmp_path / storage / "train/cmvn.ark"))[0, :-1], stacked.sum(0), rtol=1e-6
        )
        assert validate(tmp_path / storage / "train") == []
        sizes[storage] = size_of(tmp_path / storage)
    assert sizes["two_bytes"] < 0.55 * sizes["float32"]
    assert sizes["one_byte"] < 0.45 * sizes["float32"]


def extracted_of(directory, out):
    extract_set(directory, out, OPTIONS, cmvn=True, progress=False)
    return dict(kaldiio.load_scp(str(out / "train/feats.scp")).items())


def size_of(out):
    return sum(path.stat().st_size for path in (out / "train").glob("feats.*.ark"))
