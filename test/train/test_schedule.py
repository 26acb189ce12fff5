"""Learning rates against the formulas of the papers that they are from."""

from __future__ import annotations

import pytest
from shipped import load_shipped

from dualtk.train.optim import LinearSchedule

STEPS = (0, 10, 999, 3999, 4000, 9999, 14999, 20000, 150000)


@pytest.mark.parametrize(
    ("method", "peak", "warmup"),
    [
        ("dual_conformer", 0.05 / 256**0.5, 10000),  # Gulati et al. 2020, section 3.1
        ("dual_contextnet", 0.0025, 15000),  # Han et al. 2020, section 3.1
        ("tt_full", 256**-0.5 * 4000**-0.5, 4000),  # Vaswani et al. 2017, equation 3
    ],
)
def test_the_papers_rates(method: str, peak: float, warmup: int) -> None:
    """Vaswani et al. 2017: width^-0.5 min(step^-0.5, step warmup^-1.5), which is largest at the end of the warm-up."""
    rate = load_shipped(method, "paper").schedule.build(200000)
    for step in STEPS:
        expected = peak * warmup**0.5 * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5)
        assert rate(step) == pytest.approx(expected, rel=1e-3)


def test_linear_decay_ends_at_the_last_step() -> None:
    """wav2vec 2.0: 8 % of the steps to the peak, then linearly down."""
    rate = load_shipped("wav2vec_pretrain", "paper").schedule.build(400000)
    assert [rate(step) for step in (31999, 32000, 216000, 400000)] == pytest.approx([5e-4, 5e-4, 2.5e-4, 0.0])
    assert rate(15999) == pytest.approx(2.5e-4)
    kept = LinearSchedule(name="linear", lr=1.0, final=0.2, warmup_steps=0).build(10)
    assert [kept(step) for step in (0, 5, 10, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
