"""Serve a trained network: live streams over a WebSocket, files over HTTP, and a page that shows both modes.

Live streams speak the protocol of sherpa-onnx's online server, files that of OpenAI's /v1/audio/transcriptions; a
browser finds a page at /. docs/serving.md has examples, and what is served under load.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import (
    add_arithmetic_options,
    add_endpoint_options,
    add_search_options,
    load_recognizer,
)
from dualtk.config import validate
from dualtk.errors import InputError
from dualtk.options import Unit
from dualtk.serving.limits import Limits


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk serve`."""
    options = argparse.ArgumentParser(prog="dualtk serve", description=__doc__)
    options.add_argument("model", type=Path, metavar="MODEL", help="experiment or model folder")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    options.add_argument(
        "--port", type=at_least(0, 65535), default=8000, metavar="N", help="0: any free one; default: 8000"
    )
    options.add_argument("--token-file", type=Path, metavar="FILE", help="clients must show the token in it")
    options.add_argument("--allow-origin", action="append", default=[], metavar="URL", help="of pages that may use it")
    options.add_argument("--certfile", type=Path, metavar="PEM", help="certificate, for https")
    options.add_argument("--keyfile", type=Path, metavar="PEM", help="its key, where that is not in the same file")
    options.add_argument("--language", metavar="CODE", help="of ISO 639; default: that of the model card")
    options.add_argument(
        "--chunk-ms", type=at_least(1), metavar="N", help="milliseconds decided together in streaming; default: trained"
    )
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: MODEL/lang")
    options.add_argument("--device", default="cpu", metavar="NAME", help="as torch names it; default: cpu")
    options.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="that step streams, each those of its own; default: one for each processor",
    )
    add_arithmetic_options(options)
    _add_limits(options)
    add_endpoint_options(options)
    add_search_options(options)
    return options


def _add_limits(options: argparse.ArgumentParser) -> None:
    """An option for each field of `Limits`."""
    for key, field in Limits.model_fields.items():
        unit = next((one.name for one in field.metadata if isinstance(one, Unit)), None)
        text = str(field.description).rstrip(".").replace("\n", " ")
        options.add_argument(
            f"--{key.replace('_', '-')}",
            type=float if field.annotation is float else int,
            default=field.default,
            metavar="N",
            help=f"{'' if unit is None else f'{unit}: '}{text[0].lower()}{text[1:]}; default: {field.default:g}",
        )


def _read_token(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if not token or not token.isprintable():
        raise InputError(f"{path}: expected one line with a token")
    return token


def _processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """A socket that clients can reach.

    Raises:
        InputError: the address is not of this machine, or taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: {error.strerror or error}") from error


def _check_files(options: argparse.Namespace) -> None:
    """Refuse what uvicorn would find out when the network has been loaded.

    Raises:
        InputError: names the option.
    """
    if options.keyfile is not None and options.certfile is None:
        raise InputError("--keyfile: needs --certfile")
    for name in ("certfile", "keyfile"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise InputError(f"--{name}: {path}: no such file")
    if options.certfile is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(options.certfile, options.keyfile)
        except OSError as error:
            said = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise InputError(f"--certfile: {options.certfile}: is no certificate with its key ({said})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; see `parser` for the options."""
    options = parser().parse_args(argv)
    limits = validate(Limits, {key: getattr(options, key) for key in Limits.model_fields}, "limits")
    _check_files(options)
    token = None if options.token_file is None else _read_token(options.token_file)
    # Only here: without the extra the options can still be read, and --help does not wait for torch.
    from dualtk.serving.access import Access
    from dualtk.serving.application import Application
    from dualtk.serving.description import describe
    from dualtk.serving.log import set_up_logs
    from dualtk.serving.server import DrainingServer, configuration

    recognizer = load_recognizer(options.model, options)
    description = describe(recognizer, options.language)
    recognizer.passes(description.live_mode)  # says now what is wrong with the options, and compiles
    set_up_logs()
    threads = options.threads or (_processors() if options.device == "cpu" else 1)
    access = Access(token, options.allow_origin, is_loopback=_is_loopback(options.host))
    application = Application(recognizer, recognizer.of_whole_utterances(), description, access, limits, threads)
    config = configuration(application, limits, options.certfile, options.keyfile)
    server = DrainingServer(application, config, limits)
    with _listen(options.host, options.port) as listening:
        server.run([listening])
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
