"""tools/slurm/array.sbatch on the real Slurm: features in parts, then their tables."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from slurm_here import installed, slurm

from dualtk.bin import features
from dualtk.bin.dualtk import run
from dualtk.data.kaldi import Utterance, write_data_directory

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not installed(), reason="needs Slurm and root")]


def test_features_in_parts(tmp_path: Path) -> None:
    utterances = []
    for number in range(20):
        path = tmp_path / f"{number:02d}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(6400), 16000)
        utterances.append(Utterance(f"u{number:02d}", f"u{number:02d}", str(path), "A WORD", 0.4))
    write_data_directory(tmp_path / "a set", utterances)
    call = ["--train", str(tmp_path / "a set"), "--out", str(tmp_path / "whole")]
    assert run(features.main, call) == 0
    call[-1] = str(tmp_path / "parts")
    (tmp_path / "lines").write_text("".join(f"{shlex.join(['features', *call])} --part {k}/2\n" for k in (1, 2)))
    (tmp_path / "last").write_text(shlex.join(["features", *call]) + "\n")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": paths, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    batch = ("sbatch", "--parsable", f"--output={tmp_path / '%a.log'}")
    script = ROOT / "tools/slurm/array.sbatch"
    with slurm(tmp_path / "slurm", nodes=2) as here:
        first = here.call(*batch, "--array=1-2", script, tmp_path / "lines", **variables)
        assert first.returncode == 0, first.stderr
        after = f"--dependency=afterok:{first.stdout.strip()}"
        last = here.call(*batch, "--array=1", after, script, tmp_path / "last", **variables)
        assert last.returncode == 0, last.stderr
        until = time.monotonic() + 300
        while here.call("squeue", "--noheader").stdout.strip():
            said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
            assert time.monotonic() < until, said
            time.sleep(0.5)
    tables = [str(tmp_path / one / "a set/feats.scp") for one in ("whole", "parts")]
    whole, parts = (dict(kaldiio.load_scp(table).items()) for table in tables)
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "features part 1/2, " in said
    assert "features unchanged, tables written" in said
