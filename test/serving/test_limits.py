"""What a server refuses, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
import websockets
from serving.client import Heard, listen, send_all, talk_to
from serving.running import Running, talk

from dualtk.bin.dualtk import main as command
from dualtk.recognizer import Recognizer

pytestmark = pytest.mark.slow
SAMPLES = talk(1)[:1600].astype("<f4").tobytes()


def status_of(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def socket_status(url: str, **options: object) -> int:
    """101 where a socket is opened."""

    async def attempt() -> int:
        try:
            async with websockets.connect(url, **options):
                return 101
        except websockets.InvalidStatus as error:
            return error.response.status_code

    return asyncio.run(attempt())


def test_a_token_is_needed_where_one_is_set(start_server, tmp_path: Path, recognizer: Recognizer) -> None:
    (tmp_path / "token").write_text("s3cret ü\n", encoding="utf-8")
    server = start_server("--token-file", str(tmp_path / "token"))
    encoded = base64.urlsafe_b64encode("s3cret ü".encode()).decode().rstrip("=")
    with_token = {"subprotocols": ["dualtk", f"dualtk.token.{encoded}"]}
    assert socket_status(server.socket) == 401
    assert socket_status(server.socket, additional_headers={"Authorization": "Bearer wrong"}) == 401
    assert socket_status(server.socket, subprotocols=["dualtk", "dualtk.token.!!"]) == 401
    heard = asyncio.run(talk_to(server.socket, talk(1), **with_token))
    assert heard.text == recognizer.transcribe(talk(1), rate=16000).text
    for path in ("/about", "/metrics", "/v1/models"):
        assert status_of(server.url + path)[0] == 401
    assert status_of(server.url + "/healthz") == (200, '{"status":"ok"}')
    assert status_of(server.url + "/")[0] == 200  # the page asks for the token
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.audio.transcriptions.create(model="tiny", file=("a.wav", b"x"))
    server.stop()
    assert "s3cret" not in server.text


def test_pages_of_others_are_refused(start_server) -> None:
    server = start_server("--allow-origin", "https://ours.example")
    assert socket_status(server.socket) == 101
    assert socket_status(server.socket, origin=f"http://127.0.0.1:{server.port}") == 101
    assert socket_status(server.socket, origin="https://ours.example") == 101
    assert socket_status(server.socket, origin="https://evil.example") == 403
    assert socket_status(server.socket, origin="null") == 403
    assert status_of(f"{server.url}/about", Origin="https://evil.example")[0] == 403
    # A name that was made to lead to this machine.
    assert status_of(f"{server.url}/about", Host="evil.example")[0] == 421
    assert status_of(f"{server.url}/about", Host="[")[0] == 421


def test_no_more_streams_than_may_be(start_server) -> None:
    server = start_server("--max-streams", "2")

    async def three() -> tuple[int, Heard]:
        one = asyncio.create_task(talk_to(server.socket, talk(1), 800, 0.05))
        two = asyncio.create_task(talk_to(server.socket, talk(1), 800, 0.05))
        await asyncio.sleep(0.5)
        with pytest.raises(websockets.InvalidStatus) as caught:
            await talk_to(server.socket, talk(1))
        assert caught.value.response.headers["Retry-After"]
        assert status_of(f"{server.url}/healthz")[0] == 503
        await one
        return caught.value.response.status_code, await two

    status, heard = asyncio.run(three())
    assert (status, heard.is_done) == (503, True)
    assert socket_status(server.socket) == 101
    assert server.metric('dualtk_refused_total{reason="too_many_streams"}') == 1


def test_new_streams_are_refused_where_old_ones_come_late(start_server) -> None:
    server = start_server("--max-latency", "0.0001")

    async def second() -> None:
        first = asyncio.create_task(talk_to(server.socket, np.tile(talk(1), 2), 1600, 0.1))
        await asyncio.sleep(5.5)
        with pytest.raises(websockets.InvalidStatus, match="503"):
            await talk_to(server.socket, talk(1))
        assert (await first).is_done

    asyncio.run(second())
    assert server.metric('dualtk_refused_total{reason="overloaded"}') == 1


def test_a_flood_of_tiny_messages_ends_its_sender(start_server) -> None:
    server = start_server("--max-messages", "50")
    heard = asyncio.run(send_all(server.socket, [b"\0\0\0\0"] * 100_000))
    assert (heard.code, "messages a second" in heard.reason) == (1008, True)


def test_a_client_that_says_nothing_is_closed(start_server) -> None:
    server = start_server("--max-idle", "1")
    heard = asyncio.run(send_all(server.socket, [SAMPLES]))
    assert (heard.code, "nothing came" in heard.reason) == (1008, True)
    assert server.metric("dualtk_streams") == 0


def test_a_stream_has_its_length(start_server) -> None:
    server = start_server("--max-stream", "2")
    assert asyncio.run(send_all(server.socket, [SAMPLES] * 30)).code == 1008


def test_openings_of_an_address(start_server) -> None:
    server = start_server("--max-openings", "3")
    assert [socket_status(server.socket) for _ in range(4)] == [101, 101, 101, 429]


def test_files_have_their_size_and_length(start_server) -> None:
    server = start_server("--max-upload", "1", "--max-duration", "30")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    bomb = io.BytesIO()  # an hour of silence
    soundfile.write(bomb, np.zeros(3600 * 8000, np.int16), 8000, format="flac")
    assert len(bomb.getvalue()) < 1 << 20
    for content in (b"x" * ((1 << 20) + (1 << 17)), bomb.getvalue()):
        with pytest.raises(openai.APIStatusError) as caught:
            client.audio.transcriptions.create(model="tiny", file=("a.flac", content))
        assert caught.value.status_code == 413
    # One that does not say its size is stopped when it is too large.
    with socket.create_connection(("127.0.0.1", server.port)) as own:
        own.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"y" * (1 << 19)
        own.sendall(b"".join(b"%x\r\n%s\r\n" % (len(part), part) for _ in range(3)))
        assert own.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "path", ["/../setup.py", "/%2e%2e/%2e%2e/etc/passwd", "/page/../../x", "//etc/passwd", "/.env"]
)
def test_nothing_else_of_the_disk_is_served(server: Running, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as own:
        own.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert own.recv(1000).startswith(b"HTTP/1.1 404")


def test_bytes_that_are_no_http_end_one_connection(server: Running) -> None:
    for garbage in (b"\0\1\2\3" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 200_000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as own:
            try:
                own.sendall(garbage)
                own.shutdown(socket.SHUT_WR)
                while own.recv(65536):
                    pass
            except OSError:
                pass
    assert status_of(f"{server.url}/healthz")[0] == 200


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_head_that_does_not_come_in_time_ends_its_connection(start_server, begun: bytes) -> None:
    server = start_server("--max-header", "1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as own:
        for _ in range(3):  # a byte now and then keeps nothing open
            own.sendall(begun)
            time.sleep(0.2)
        assert own.recv(1000).startswith(b"HTTP/1.1 408")
        assert own.recv(1000) == b""
    assert status_of(f"{server.url}/healthz")[0] == 200


def test_a_head_in_time_is_no_deadline_for_what_follows(start_server, recognizer: Recognizer) -> None:
    server = start_server("--max-header", "0.5")
    heard = asyncio.run(talk_to(server.socket, talk(1), 1600, 0.05))
    assert heard.text == recognizer.transcribe(talk(1), rate=16000).text
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(2):  # a connection that stays open between two requests
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        time.sleep(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_finish_before_the_server_does(start_server, recognizer: Recognizer, number: int) -> None:
    server = start_server()

    async def ended() -> Heard:
        speaking = asyncio.create_task(talk_to(server.socket, talk(1), 1600, 0.05))
        await asyncio.sleep(0.7)
        server.process.send_signal(number)
        await asyncio.sleep(0.3)
        assert status_of(f"{server.url}/healthz") == (503, '{"status":"draining"}')
        with pytest.raises(websockets.InvalidStatus, match="503"):
            await talk_to(server.socket, talk(1))
        return await speaking

    heard = asyncio.run(ended())
    assert heard.text == recognizer.transcribe(talk(1), rate=16000).text
    assert server.stop(None) == 0


def test_streams_that_do_not_finish_get_what_there_is(start_server) -> None:
    server = start_server("--max-drain", "1")

    async def ended() -> Heard:
        async with websockets.connect(server.socket) as opened:
            await opened.send(talk(1).astype("<f4").tobytes())  # and no "Done"
            listening = asyncio.create_task(listen(opened))
            await asyncio.sleep(1)
            server.process.send_signal(signal.SIGTERM)
            return await asyncio.wait_for(listening, 20)

    heard = asyncio.run(ended())
    assert heard.is_done
    assert heard.code == 1012
    assert heard.finals
    assert server.stop(None) == 0


def test_figures_are_there_and_logs_say_nothing_that_was_said(start_server, recognizer: Recognizer) -> None:
    server = start_server()
    text = asyncio.run(talk_to(server.socket, talk(1), 1600, 0.1)).text
    assert server.metric("dualtk_streams") == 0
    assert server.metric('dualtk_audio_seconds_total{kind="live"}') == pytest.approx(len(talk(1)) / 16000, abs=0.01)
    assert server.metric("dualtk_chunk_latency_seconds_count") > 10
    assert server.metric('dualtk_chunk_latency_seconds_bucket{le="+Inf"}') == server.metric(
        "dualtk_chunk_latency_seconds_count"
    )
    assert 0 < server.metric('dualtk_chunk_latency_recent_seconds{quantile="0.95"}') < 5
    assert server.metric("dualtk_real_time_factor") > 0
    server.stop()
    (stream,) = [one for one in server.log if one["event"] == "stream"]
    assert (stream["mode"], stream["code"]) == ("streaming", 1000)
    assert not any(word in server.text for word in set(text.split()) if len(word) > 3)


def certificate(folder: Path) -> tuple[Path, Path]:
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "
        f"-out {files[0]} -keyout {files[1]}".split(),
        check=True,
        capture_output=True,
    )
    return files


def test_tls(start_server: Callable[..., Running], tmp_path: Path) -> None:
    certfile, keyfile = certificate(tmp_path)
    server = start_server("--certfile", str(certfile), "--keyfile", str(keyfile))
    trusted = ssl.create_default_context(cafile=certfile)
    with urllib.request.urlopen(f"https://localhost:{server.port}/about", context=trusted, timeout=20) as answer:
        assert set(json.load(answer)["modes"]) == {"streaming", "full", "two-pass"}
    heard = asyncio.run(talk_to(f"wss://localhost:{server.port}/", talk(1), ssl=trusted))
    assert heard.is_done


def test_options_that_cannot_be_are_one_line(model: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").write_text("\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, word in (
            (["--port", port], "--port"),
            (["--token-file", str(tmp_path / "empty")], "token"),
            (["--token-file", str(tmp_path / "none")], "No such file"),
            (["--keyfile", str(tmp_path / "empty")], "--certfile"),
            (["--certfile", str(tmp_path / "empty")], "--certfile"),
            (["--max-streams", "0"], "max_streams"),
            (["--chunk-ms", "33"], "--chunk-ms"),
        ):
            assert command(["serve", str(model), *options]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert word in line
