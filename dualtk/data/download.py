"""Download of LibriSpeech from OpenSLR (https://www.openslr.org/12), resumable."""

from __future__ import annotations

import os
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualtk.errors import InputError

URL = "https://www.openslr.org/resources/12"
SETS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)


def download_set(root: Path, name: str, url: str = URL, progress: bool = True) -> bool:
    """Download one set and unpack it to `root`/LibriSpeech/<name>.

    A partial download continues where it ended; the set appears whole or not at all.

    Returns:
        False if the set was there already.

    Raises:
        InputError: the server cannot be reached or sends something else than an archive of the set.
    """
    target = root / "LibriSpeech" / name
    if target.is_dir():
        return False
    archive = root / f"{name}.tar.gz"
    if not archive.is_file():
        root.mkdir(parents=True, exist_ok=True)
        fetch(f"{url}/{name}.tar.gz", archive, progress)
    unpacked = root / f".{name}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a killed run
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: is no archive of {name} (remove it and start again): {error}") from error
    except OSError as error:
        raise InputError(f"{unpacked}: cannot be written: {error.strerror or error}") from error
    if not (unpacked / "LibriSpeech" / name).is_dir():
        raise InputError(f"{archive}: does not contain LibriSpeech/{name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unpacked / "LibriSpeech" / name, target)
    shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return True


def fetch(url: str, path: Path, progress: bool = True) -> None:
    """Download a file; an interrupted download is continued from `path`.part."""
    part = path.with_name(f"{path.name}.part")
    begun = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            _receive(response, part, begun, path.name, progress)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the whole file is there already
            raise InputError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url}: cannot be reached ({reason}); the same command continues the download") from error
    except OSError as error:
        raise InputError(f"{part}: cannot be written: {error.strerror or error}") from error
    os.replace(part, path)


def _receive(response: Any, part: Path, begun: int, name: str, progress: bool) -> None:
    """Append the body to `part`, or start over where the server sent everything."""
    begun = begun if response.status == 206 else 0
    length = response.headers.get("Content-Length")
    total = begun + int(length) if length else None
    with (
        part.open("ab" if begun else "wb") as stream,
        tqdm(total=total, initial=begun, desc=name, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        while block := response.read(1 << 20):
            stream.write(block)
            bar.update(len(block))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size} of {total} bytes")
