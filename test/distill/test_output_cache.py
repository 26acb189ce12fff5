"""A frozen teacher whose outputs are kept teaches what one that computes them anew does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from teaching import TT, load, loss_of, make, write_experiment

from dualtk.distill.output_cache import OutputCache
from dualtk.distill.teacher import FrozenTeacher
from dualtk.encoders.base import EncoderOutput
from dualtk.errors import InputError
from dualtk.objective import Objective


def teacher_of(objective: Objective) -> FrozenTeacher:
    assert isinstance(objective.teacher, FrozenTeacher)
    return objective.teacher


def calls(objective: Objective) -> list[int]:
    """Batch sizes that the teacher's encoder is given from now on."""
    seen: list[int] = []
    encoder = teacher_of(objective).network.encoder
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("name", ["tt_hidden", "tt_heads", "tt_kl"])
def test_losses_are_those_without_a_cache(name: str, tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    options = [*TT, f"teacher.exp={exp}"]
    expected = loss_of(make(load(name, *options)))
    cached = make(load(name, *options, "teacher.cache=true"), outputs=tmp_path / "outputs")
    seen = calls(cached)
    first, again = loss_of(cached), loss_of(cached)
    assert first.parts == expected.parts
    assert again.parts == expected.parts
    assert seen == [3], "the second time nothing is computed"
    assert len(list((tmp_path / "outputs").rglob("*.safetensors"))) == 3
    expected.total.backward()
    again.total.backward()


def test_gradients_of_the_student_are_the_same(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    options = [*TT, f"teacher.exp={exp}"]
    plain = make(load("tt_hidden", *options))
    cached = make(load("tt_hidden", *options, "teacher.cache=true"), outputs=tmp_path / "outputs")
    loss_of(plain).total.backward()
    for _ in range(2):
        cached.zero_grad()
        loss_of(cached).total.backward()
    for (key, ours), theirs in zip(cached.network.named_parameters(), plain.network.parameters()):
        assert ours.grad is not None, key
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0, msg=key)


def test_an_utterance_is_known_in_any_batch(tmp_path: Path) -> None:
    """Alone, it has other padding than in the batch in which it was first heard."""
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    config = load("tt_hidden", *TT, f"teacher.exp={exp}", "teacher.cache=true")
    cached = make(config, outputs=tmp_path / "outputs")
    feats, lengths = torch.randn(3, 47, 80), torch.tensor([47, 40, 30])
    targets, target_lengths = torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([2, 2, 2])
    cached(feats, lengths, targets, target_lengths, 0)
    seen = calls(cached)
    for index, length in enumerate(lengths.tolist()):
        alone = (feats[index : index + 1, :length], lengths[index : index + 1], targets[index : index + 1])
        ours = cached(*alone, target_lengths[:1], 0).parts
        theirs = make(load("tt_hidden", *TT, f"teacher.exp={exp}"))
        theirs.load_state_dict(cached.state_dict())
        expected = theirs(*alone, target_lengths[:1], 0).parts
        torch.testing.assert_close(ours["streaming/hidden"], expected["streaming/hidden"], rtol=1e-5, atol=1e-6)
    assert not seen


def test_a_killed_batch_gives_what_it_would_have_given(tmp_path: Path) -> None:
    """What was stored before the kill is used, the rest is computed in the same batch."""
    feats, lengths = torch.randn(2, 8, 3), torch.tensor([8, 6])

    def encode() -> EncoderOutput:
        frames = feats[:, ::2] + feats.sum()  # depends on the whole batch
        return EncoderOutput(frames, torch.tensor([4, 3]), [feats], [])

    cache = OutputCache(tmp_path, 2, keep_hidden=True)
    whole = cache(feats, lengths, encode)
    assert torch.equal(whole.lengths, torch.tensor([4, 3]))
    assert torch.equal(whole.frames[1, :3], encode().frames[1, :3])
    assert torch.equal(whole.hidden[0][1], torch.cat([feats[1, :6], torch.zeros(2, 3)])), "rate 2, zeros beyond"
    next(tmp_path.rglob("*.safetensors")).unlink()
    again = cache(feats, lengths, encode)
    assert torch.equal(again.frames, whole.frames)
    assert torch.equal(again.hidden[0], whole.hidden[0])


def test_another_teacher_has_another_folder(tmp_path: Path) -> None:
    folders = set()
    for seed in (1, 2):
        exp = write_experiment(tmp_path / f"tt{seed}", load("tt_full", *TT), seed=seed)
        config = load("tt_hidden", *TT, f"teacher.exp={exp}", "teacher.cache=true")
        cache = teacher_of(make(config, outputs=tmp_path / "outputs")).cache
        assert cache is not None
        folders.add(cache.folder)
    assert len(folders) == 2


@pytest.mark.slow
def test_whatever_changes_an_entry_has_another_folder(tmp_path: Path) -> None:
    """The teacher's mode, the precision it computes in, and which vectors are kept beside its frames."""
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT, "modes.streaming={chunk: 1}"))
    hidden, heads = (f"{name}: {{student: streaming, teacher: teacher}}" for name in ("hidden", "heads"))
    changes = [
        [],
        ["teacher.mode=streaming"],
        ["train.precision=bfloat16"],
        [f"terms={{{heads}}}"],
        [f"terms={{{hidden}, {heads}}}"],
        ["terms={full_kl: {student: streaming, teacher: teacher}}"],
    ]

    def folder_of(*options: str) -> Path:
        student = [*TT, f"teacher.exp={exp}", "teacher.cache=true", f"terms={{{hidden}}}", *options]
        cache = teacher_of(make(load("tt_hidden", *student), outputs=tmp_path / "outputs")).cache
        assert cache is not None
        return cache.folder

    folders = [folder_of(*options) for options in changes]
    assert len(set(folders)) == len(changes)
    assert folder_of("terms.hidden.weight=0.5", "train.max_steps=7") == folders[0]


def test_what_cannot_be_cached_is_refused(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    options = [*TT, f"teacher.exp={exp}", "teacher.cache=true"]
    with pytest.raises(InputError, match=r"teacher\.cache: with augment .* set augment: null"):
        load("tt_hidden", *options, "augment={num_time_masks: 1}")
    objective = make(load("tt_hidden", *options), outputs=tmp_path / "outputs")
    loss_of(objective)
    damaged = next((tmp_path / "outputs").rglob("*.safetensors"))
    damaged.write_bytes(b"half")
    with pytest.raises(InputError, match=rf"{damaged.name}: not an output of the teacher"):
        loss_of(objective)
