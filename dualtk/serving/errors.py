"""Errors as OpenAI's API has them, which clients of it show."""

from __future__ import annotations

from dualtk.serving.access import Refusal
from dualtk.serving.web import JSONResponse, Response

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}


def refusal_response(refusal: Refusal) -> Response:
    """What a client that is not served gets."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(refusal.status, refusal.message, refusal.reason, headers=headers)


def error_response(
    status: int, message: str, code: str, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An error; `param` is the field of the request at fault."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(content, status, headers=headers)
