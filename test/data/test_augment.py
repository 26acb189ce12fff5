"""SpecAugment's masks: how many, how wide, where."""

from __future__ import annotations

import pytest
import torch

from dualtk.data.augment import Augmentation, AugmentOptions, SpecAugment


def masks(num_frequency_masks: int, num_time_masks: int, **options: int | float) -> SpecAugment:
    """SpecAugment with all other values as the options have them."""
    return (
        AugmentOptions(num_frequency_masks=num_frequency_masks, num_time_masks=num_time_masks, **options).build().masks
    )


def runs(mask):
    """(start, width) of each block of True in a 1-D mask."""
    edges = torch.diff(mask.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return list(zip(starts.tolist(), (ends - starts).tolist()))


def test_lengths_and_values():
    torch.manual_seed(0)
    lengths = torch.tensor([100, 37, 1, 400])
    feats = torch.randn(4, 400, 80)
    out = AugmentOptions().build().masks(feats, lengths)
    masked = out != feats
    assert not out[masked].any()
    for row, length in enumerate(lengths):
        assert not masked[row, length:].any()
    assert torch.equal(AugmentOptions().build().masks.eval()(feats, lengths), feats)


def test_one_frequency_mask():
    torch.manual_seed(0)
    mask = masks(1, 0, frequency_width=27).mask(torch.full((4000,), 10), 10, 80)
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    blocks = [runs(row) for row in mask[:, 0]]
    assert all(len(block) <= 1 for block in blocks)
    widths = torch.tensor([block[0][1] if block else 0 for block in blocks])
    assert torch.bincount(widths, minlength=28).min() > 4000 / 28 * 0.6  # uniform on 0..27
    assert widths.max() == 27
    ends = [block[0][0] + block[0][1] for block in blocks if block]
    assert min(block[0][0] for block in blocks if block) == 0
    assert max(ends) == 80


def test_time_masks_scale_with_length():
    torch.manual_seed(0)
    lengths = torch.tensor([1000, 200, 19])
    mask = masks(0, 1, time_fraction=0.05).mask(lengths.repeat_interleave(500), 1000, 4)
    per_length = mask[..., 0].view(3, 500, 1000)
    assert torch.equal(mask, mask[..., :1].expand_as(mask))
    for rows, widest in zip(per_length, (50, 10, 0)):
        widths = rows.sum(1)
        assert widths.max() == widest
        assert all(len(runs(row)) <= 1 for row in rows)
    assert masks(0, 1, time_width=7, time_fraction=0.05).mask(lengths, 1000, 4)[..., 0].sum(1).max() <= 7


def test_number_of_masks():
    torch.manual_seed(0)
    mask = masks(0, 10, time_fraction=0.05).mask(torch.full((200,), 2000), 2000, 1)[..., 0]
    assert mask.sum(1).max() <= 10 * 100
    assert max(len(runs(row)) for row in mask) > 5
    adaptive = masks(0, 10, time_fraction=0.05, time_rate=0.001).mask(torch.full((200,), 2000), 2000, 1)[..., 0]
    assert max(len(runs(row)) for row in adaptive) == 2


def test_drawn_from_torch():
    lengths = torch.tensor([50, 60])
    feats = torch.randn(2, 60, 80)
    augment = AugmentOptions().build().masks
    torch.manual_seed(3)
    first = augment(feats, lengths)
    assert not torch.equal(first, augment(feats, lengths))
    torch.manual_seed(3)
    assert torch.equal(first, augment(feats, lengths))


def test_nothing_to_mask():
    feats = torch.randn(2, 60, 80)
    assert torch.equal(masks(0, 0)(feats, torch.tensor([50, 60])), feats)
    assert masks(2, 2, frequency_width=200, time_fraction=1.0)(torch.randn(1, 2, 3), torch.tensor([2])).shape == (
        1,
        2,
        3,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_time_masks", -1), ("time_fraction", 1.5), ("time_rate", -0.1), ("frequency_warp", 1.0), ("channel", -1.0)],
)
def test_refused(key, value):
    with pytest.raises(ValueError, match=rf"{key}\n"):
        AugmentOptions(**{key: value})


def test_every_option_reaches_its_block():
    values = {
        **{"start_step": 3, "frequency_warp": 0.2, "channel": 0.3, "num_frequency_masks": 5, "frequency_width": 6},
        **{"num_time_masks": 7, "time_width": 8, "time_fraction": 0.9, "time_rate": 0.1},
    }
    assert values.keys() == AugmentOptions.model_fields.keys()
    augmentation = AugmentOptions(**values).build()
    parts = (augmentation, augmentation.voice, augmentation.masks)
    assert all(any(vars(part).get(key) == value for part in parts) for key, value in values.items())


def test_augmentation_starts_at_its_step_with_the_voice_and_then_the_masks() -> None:
    augmentation = Augmentation(3, 0.1, 0.0, 1, 5, 0, None, 0.05, None)
    feats, lengths = torch.randn(2, 30, 40), torch.tensor([30, 20])
    assert torch.equal(augmentation(feats, lengths, 2), feats)
    torch.manual_seed(5)
    augmented = augmentation(feats, lengths, 3)
    torch.manual_seed(5)
    assert torch.equal(augmented, augmentation.masks(augmentation.voice(feats, lengths), lengths))
    assert not torch.equal(augmented, feats)
    assert torch.equal(augmentation.eval()(feats, lengths, 3), feats)
