"""Who may use a server: its token, and which pages of browsers."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from dualtk.serving.web import HTTPConnection

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SUBPROTOCOL = "dualtk"  # of sockets
TOKEN_PREFIX = "dualtk.token."  # of a subprotocol that carries a token: pages cannot set headers of a socket


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: of HTTP.
        reason: one word, for the metrics.
        message: for the client.
        retry_after: seconds after which it may be served.
    """

    status: int
    reason: str
    message: str
    retry_after: int | None = None


class Access:
    """Who may use a server.

    Args:
        token: that clients must show; None: none.
        origins: pages beside the server's own whose scripts may use it, as `https://host[:port]`.
        is_loopback: only this machine reaches the server. A page elsewhere whose name was made to lead here must not.
    """

    def __init__(self, token: str | None, origins: Sequence[str], *, is_loopback: bool) -> None:
        self._token = token
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._is_loopback = is_loopback

    @property
    def needs_token(self) -> bool:
        """Whether a token was set."""
        return self._token is not None

    def refusal(self, connection: HTTPConnection) -> Refusal | None:
        """Why a client may not use the server, or None."""
        return self.of_host(connection) or self._of_origin(connection) or self._of_token(connection)

    def of_host(self, connection: HTTPConnection) -> Refusal | None:
        """Why the name that the client has for the server is no good."""
        if self._is_loopback and _hostname(connection.headers.get("host", "")) not in LOOPBACK:
            return Refusal(421, "host", "this server listens to this machine only: use http://localhost")
        return None

    def _of_origin(self, connection: HTTPConnection) -> Refusal | None:
        origin = connection.headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return None
        if urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower():
            return None
        return Refusal(403, "origin", "pages of this origin may not use the server: see --allow-origin")

    def _of_token(self, connection: HTTPConnection) -> Refusal | None:
        if self._token is None:
            return None
        shown = shown_token(connection)
        if shown is None:
            return Refusal(401, "token", "a token is needed: Authorization: Bearer TOKEN")
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            return Refusal(401, "token", "this token is not that of the server")
        return None


def shown_token(connection: HTTPConnection) -> str | None:
    """The token of a request: of its header `Authorization`, or of a socket's subprotocol `dualtk.token.BASE64URL`."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    for offered in connection.scope.get("subprotocols", []):
        if offered.startswith(TOKEN_PREFIX):
            encoded = offered.removeprefix(TOKEN_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
