"""The live page and its files, with headers that let it reach this server and nothing else."""

from __future__ import annotations

from importlib.resources import files

from dualtk.serving.web import BaseRoute, Request, Response, Route

FOLDER = "page"
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "capture.js": "text/javascript; charset=utf-8",
    "files.js": "text/javascript; charset=utf-8",
    "meter.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "speech.js": "text/javascript; charset=utf-8",
    "subtitles.js": "text/javascript; charset=utf-8",
    "transcript.js": "text/javascript; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_routes() -> list[BaseRoute]:
    """The page at `/`, its files beside it; nothing else of the disk is ever opened."""
    folder = files("dualtk.serving") / FOLDER
    contents = {name: (folder / name).read_bytes() for name in TYPES}

    def route(name: str) -> Route:
        async def serve(request: Request) -> Response:
            return Response(contents[name], media_type=TYPES[name], headers=HEADERS)

        return Route("/" if name == "index.html" else f"/{name}", serve, methods=["GET"])

    return [route(name) for name in TYPES]
