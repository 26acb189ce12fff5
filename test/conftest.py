"""What every test shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Whoever runs the tests in the background of a shell, or under nohup, has these ignored; their children would too.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real speech (`DUALTK_TEST_DATA`); a test that needs it is skipped where it is absent."""
    path = Path(os.environ.get("DUALTK_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real speech not found at {path}; set DUALTK_TEST_DATA")
    return path
