"""Files by HTTP, with OpenAI's own client."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
from serving.running import Running, talk

from dualtk.formats import as_srt, as_vtt
from dualtk.recognizer import Recognizer

pytestmark = pytest.mark.slow


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def file_of(samples: np.ndarray, kind: str = "wav", rate: int = 16000) -> tuple[str, bytes]:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind)
    return f"../../talk.{kind}", content.getvalue()


def as_read(file: tuple[str, bytes], folder: Path) -> Path:
    (folder / "talk").write_bytes(file[1])
    return folder / "talk"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_the_text_is_that_of_transcribe(client, recognizer: Recognizer, tmp_path: Path, kind: str) -> None:
    file = file_of(talk(1), kind)
    found = client.audio.transcriptions.create(model="whisper-1", file=file)
    assert found.text == recognizer.transcribe(as_read(file, tmp_path), "full").text != ""


@pytest.mark.parametrize("mode", ["streaming", "full", "two-pass"])
def test_words_and_segments(client, recognizer: Recognizer, tmp_path: Path, mode: str) -> None:
    file = file_of(talk(1))
    found = client.audio.transcriptions.create(
        model="tiny",
        file=file,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"mode": mode},
    )
    expected = recognizer.transcribe(as_read(file, tmp_path), mode)
    assert [one.word for one in found.words] == [one.text for one in expected.words]
    assert [one.start for one in found.words] == pytest.approx([one.start for one in expected.words], abs=2e-3)
    assert [one.text for one in found.segments] == [one.text for one in expected.segments]
    assert [one.end for one in found.segments] == pytest.approx([one.end for one in expected.segments], abs=2e-3)
    assert float(found.duration) == pytest.approx(expected.audio_seconds, abs=1e-3)
    assert all(one.avg_logprob <= 0 for one in found.segments)


def test_text_and_subtitles(client, recognizer: Recognizer, tmp_path: Path) -> None:
    file = file_of(talk(1))
    expected = recognizer.transcribe(as_read(file, tmp_path), "full")
    for kind, text in (
        ("text", expected.text + "\n"),
        ("srt", as_srt("", expected)),
        ("vtt", as_vtt("", expected)),
    ):
        found = client.audio.transcriptions.create(model="tiny", file=file, response_format=kind)
        assert found == text


@pytest.mark.parametrize("mode", ["streaming", "full", "two-pass"])
def test_text_that_comes_while_it_is_made(client, recognizer: Recognizer, tmp_path: Path, mode: str) -> None:
    file = file_of(np.concatenate([talk(1), talk(2)]))
    events = list(client.audio.transcriptions.create(model="tiny", file=file, stream=True, extra_body={"mode": mode}))
    expected = recognizer.transcribe(as_read(file, tmp_path), mode)
    assert [one.type for one in events] == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
    assert len(events) >= 2
    assert events[-1].text == expected.text
    if mode != "two-pass":  # whose first text may be another
        assert "".join(one.delta for one in events[:-1]) == expected.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "file"),
        (b"no audio at all" * 100, "cannot be decoded"),
        (file_of(talk(1))[1][:9000], "ends after"),
        (file_of(talk(1), rate=2000)[1], "2000 Hz"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_reason(client, content: bytes, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.audio.transcriptions.create(model="tiny", file=("a.wav", content))
    assert "/tmp" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "docx"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"extra_body": {"mode": "backwards"}}, "mode"),
        ({"stream": True, "response_format": "srt"}, "stream"),
    ],
)
def test_a_field_that_is_not_understood_is_named(client, fields: dict, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="tiny", file=file_of(talk(1)), **fields)
    assert caught.value.param == param


def test_a_stream_of_results_says_what_is_wrong_with_the_file(client) -> None:
    with pytest.raises(openai.APIError, match="ends after"):
        list(client.audio.transcriptions.create(model="tiny", file=("a.wav", file_of(talk(1))[1][:9000]), stream=True))


def test_a_form_without_a_file_and_no_form(server: Running) -> None:
    for kind, body, word in (
        ("application/json", b"{}", "multipart"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "file"),
        ("multipart/form-data", b"--x--\r\n", "boundary"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--',
            "file",
        ),
    ):
        request = urllib.request.Request(
            f"{server.url}/v1/audio/transcriptions", body, {"Content-Type": kind}, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert caught.value.code == 400
        assert re.search(word, json.load(caught.value)["error"]["message"])


def test_the_model_is_listed(client) -> None:
    assert [one.id for one in client.models.list()] == ["tiny"]
