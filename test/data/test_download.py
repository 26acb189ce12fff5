"""Download from a server of our own that breaks off, knows ranges, or is not there."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dualtk.data.download import download_set
from dualtk.errors import InputError


class Server(BaseHTTPRequestHandler):
    """Serves one archive; the first answer stops in the middle, later ones honour a range if `ranges`."""

    def __init__(self, archive, state, *arguments):
        self.archive, self.state = archive, state
        super().__init__(*arguments)

    def do_GET(self):
        content = self.archive.read_bytes()
        if self.path.endswith("/md5sum.txt") and self.state["sum"]:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.state['sum']}  dev-clean.tar.gz\n".encode())
            return
        if not self.path.endswith("/dev-clean.tar.gz"):
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.state["ranges"].append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.state["honour"] else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        first = len(self.state["ranges"]) == 1
        if len(self.state["ranges"]) <= self.state["spoils"]:  # a byte that changed on the way
            content = content[:200] + bytes([content[200] ^ 1]) + content[201:]
            first = False
        self.wfile.write(content[begin : len(content) // 2 if first else None])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(make_librispeech, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    make_librispeech(tmp_path / "source" / "LibriSpeech")
    with tarfile.open(tmp_path / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "source" / "LibriSpeech", "LibriSpeech")
    state = {"ranges": [], "honour": True, "sum": None, "spoils": 0}
    service = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, tmp_path / "dev-clean.tar.gz", state))
    threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}/12", state
    service.shutdown()
    service.server_close()


@pytest.mark.parametrize("honour", [True, False])
def test_continued(server, tmp_path, honour):
    url, state = server
    state["honour"] = honour
    root = tmp_path / "corpus"
    with pytest.raises(InputError, match=r"the connection ended after .* the same command continues the download"):
        download_set(root, "dev-clean", url, progress=False)
    half = (root / "dev-clean.tar.gz.part").stat().st_size
    assert not (root / "LibriSpeech").exists()
    assert download_set(root, "dev-clean", url, progress=False)
    assert state["ranges"] == [None, f"bytes={half}-"]
    assert sorted(path.name for path in (root / "LibriSpeech" / "dev-clean").glob("*/*/*.flac")) == sorted(
        path.name for path in (tmp_path / "source").rglob("*.flac")
    )
    assert [path.name for path in root.iterdir()] == ["LibriSpeech"]
    assert not download_set(root, "dev-clean", url, progress=False)
    assert len(state["ranges"]) == 2


def test_no_such_set(server, tmp_path):
    with pytest.raises(InputError, match=r"dev-other.tar.gz: the server answers 404"):
        download_set(tmp_path / "corpus", "dev-other", server[0], progress=False)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(InputError, match=r"cannot be reached .* the same command continues the download"):
        download_set(tmp_path, "dev-clean", "http://127.0.0.1:9", progress=False)


def test_damaged_archive(tmp_path):
    (tmp_path / "dev-clean.tar.gz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"dev-clean.tar.gz: is no archive of dev-clean"):
        download_set(tmp_path, "dev-clean", "http://127.0.0.1:9", progress=False)
    assert not (tmp_path / "LibriSpeech").exists()


@pytest.mark.parametrize("spoils", [1, 2])
def test_a_changed_byte_is_found_and_fetched_again(server, tmp_path, spoils):
    url, state = server
    state["sum"] = hashlib.md5((tmp_path / "dev-clean.tar.gz").read_bytes()).hexdigest()
    state["spoils"] = spoils
    root = tmp_path / "corpus"
    if spoils == 2:
        with pytest.raises(InputError, match=r"dev-clean.tar.gz: came twice with another MD5 than the published one"):
            download_set(root, "dev-clean", url, progress=False)
        assert list(root.iterdir()) == []
    else:
        assert download_set(root, "dev-clean", url, progress=False)
        assert list((root / "LibriSpeech/dev-clean").glob("*/*/*.flac"))
    assert state["ranges"] == [None, None]


def test_an_archive_that_is_there_is_compared_too(server, tmp_path):
    url, state = server
    content = (tmp_path / "dev-clean.tar.gz").read_bytes()
    state["sum"], state["spoils"] = hashlib.md5(content).hexdigest(), 0
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "dev-clean.tar.gz").write_bytes(content[:-40])
    state["ranges"].append("an earlier one")
    assert download_set(root, "dev-clean", url, progress=False)
    assert state["ranges"] == ["an earlier one", None]


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_without_a_published_sum_a_changed_byte_is_found_by_gzip(server, tmp_path, place):
    content = bytearray((tmp_path / "dev-clean.tar.gz").read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "dev-clean.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"dev-clean.tar.gz: is no archive of dev-clean"):
        download_set(root, "dev-clean", server[0], progress=False)
    assert not (root / "LibriSpeech").exists()
