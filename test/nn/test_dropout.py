import pytest
import torch

from dualtk.errors import InputError
from dualtk.nn.dropout import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_drops_the_rounded_fraction_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    rounded = round(probability * 256) / 256
    output = Dropout(probability)(torch.ones(1000, 803))
    assert (output == 0).float().mean().item() == pytest.approx(rounded, abs=3e-3)
    # Every byte of a word is equally random, the highest too.
    for byte in range(8):
        assert (output.flatten()[byte::8] == 0).float().mean().item() == pytest.approx(rounded, abs=6e-3)
    assert output.mean().item() == pytest.approx(1.0, abs=5e-3)


def test_refuses_what_is_no_probability() -> None:
    for probability in (-0.1, 1.0):
        with pytest.raises(InputError):
            Dropout(probability)


def test_gradient_is_the_mask_and_the_seed_decides_it() -> None:
    x = torch.ones(7, 13, requires_grad=True)
    torch.manual_seed(3)
    output = Dropout(0.3)(x)
    output.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, output.detach())
    torch.manual_seed(3)
    torch.testing.assert_close(Dropout(0.3)(x), output)


def test_does_nothing_in_evaluation() -> None:
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
