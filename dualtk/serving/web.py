"""Starlette and uvicorn, the extra `serve`: the only file that imports them."""

from __future__ import annotations

from dualtk.extras import extra

with extra("serve"):
    import python_multipart  # noqa: F401 (Starlette reads forms with it)
    import websockets  # noqa: F401 (uvicorn's sockets)
    from h11 import IDLE
    from starlette.applications import Starlette
    from starlette.datastructures import FormData, Headers, QueryParams, UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException
    from starlette.requests import ClientDisconnect, HTTPConnection, Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
    from starlette.routing import BaseRoute, Route, WebSocketRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocket, WebSocketDisconnect
    from uvicorn import Config, Server
    from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = [
    "IDLE",
    "ASGIApp",
    "BaseRoute",
    "ClientDisconnect",
    "Config",
    "FormData",
    "H11Protocol",
    "HTTPConnection",
    "HTTPException",
    "Headers",
    "JSONResponse",
    "Message",
    "MultiPartException",
    "PlainTextResponse",
    "QueryParams",
    "Receive",
    "Request",
    "Response",
    "Route",
    "Scope",
    "Send",
    "Server",
    "Starlette",
    "StreamingResponse",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketRoute",
]
