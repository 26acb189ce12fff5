"""Download of LibriSpeech from OpenSLR (https://www.openslr.org/12), resumable."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualtk.errors import InputError
from dualtk.files import read_blocks

URL = "https://www.openslr.org/resources/12"
SUMS = {  # MD5 of <set>.tar.gz, as OpenSLR publishes them in md5sum.txt beside the archives
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
SETS = tuple(SUMS)


def download_set(root: Path, name: str, url: str = URL, progress: bool = True) -> bool:
    """Download one set and unpack it to `root`/LibriSpeech/<name>.

    A partial download continues where it ended; an archive that is not the published one, by its MD5, is fetched again,
    once. The set appears whole or not at all.

    Returns:
        False if the set was there already.

    Raises:
        InputError: the server cannot be reached or sends something else than an archive of the set.
    """
    target = root / "LibriSpeech" / name
    if target.is_dir():
        return False
    archive = root / f"{name}.tar.gz"
    root.mkdir(parents=True, exist_ok=True)
    _fetch_whole(archive, name, url, progress)
    unpacked = root / f".{name}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a killed run
    try:
        with gzip.open(archive) as content:  # to its end, where its checksum is: a tar ends before
            while content.read(1 << 20):
                pass
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError, EOFError) as error:
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


def _fetch_whole(archive: Path, name: str, url: str, progress: bool) -> None:
    """See that the archive is there and is the published one; one that is damaged stays until another has come."""
    expected = published_sum(name, url)
    if archive.is_file() and not is_damaged(archive, expected):
        return
    for _ in range(2):
        fetch(f"{url}/{name}.tar.gz", archive, progress)
        if not is_damaged(archive, expected):
            return
    archive.unlink()
    raise InputError(f"{url}/{name}.tar.gz: came twice with another MD5 than the published one")


def published_sum(name: str, url: str) -> str | None:
    """MD5 of the archive of a set: that of md5sum.txt beside it, or OpenSLR's own; None where neither is known."""
    try:
        with urllib.request.urlopen(f"{url}/md5sum.txt", timeout=60) as response:
            listed = response.read(1 << 20).decode("ascii", "replace")
    except OSError:  # no such list, or no connection: an archive that is there already can still be unpacked
        return SUMS.get(name) if url == URL else None
    sums = {
        fields[1].lstrip("*"): fields[0].lower() for line in listed.splitlines() if len(fields := line.split()) == 2
    }
    return sums.get(f"{name}.tar.gz")


def is_damaged(archive: Path, expected: str | None) -> bool:
    """Whether the MD5 of a file is another one than `expected`."""
    if expected is None:
        return False
    total = hashlib.md5(usedforsecurity=False)
    for block in read_blocks(archive):
        total.update(block)
    return total.hexdigest() != expected


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
