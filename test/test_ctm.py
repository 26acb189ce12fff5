"""Word times: in order, comments passed over, every line without a meaning refused by its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.ctm import Word, parse_ctm, read_ctm, select_ctm
from dualtk.errors import InputError


def test_words_are_sorted_by_time_and_comments_passed_over(tmp_path: Path) -> None:
    content = ";; made by hand\n\nu 1 1.0 0.5 B 0.99\nu\t1\t0.25  0.5 A\n;;v 1 2 3\n"
    (tmp_path / "ctm").write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    assert read_ctm(tmp_path / "ctm") == {"u": [Word("A", 0.25, 0.75), Word("B", 1.0, 1.5)]}
    assert select_ctm([tmp_path / "ctm"], ["u"]) == "u 1 1.0 0.5 B 0.99\nu 1 0.25 0.5 A\n"
    assert select_ctm([tmp_path / "ctm"], ["w"]) == ""


@pytest.mark.parametrize(
    "line", ["u 1 0.5", "u 1 zero 1 A", "u 1 nan 1 A", "u 1 0 inf A", "u 1 -1 1 A", "u 1 1 -0.1 A"]
)
def test_faults_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ctm").write_text(f"u 1 0 1 A\n{line}\n")
    with pytest.raises(InputError, match=r"ctm:2: expected `utt channel start duration WORD`"):
        read_ctm(tmp_path / "ctm")
    assert len(parse_ctm(tmp_path / "ctm")[1]) == 1
