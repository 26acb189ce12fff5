"""A model hub of one process: the parts of the Hub's HTTP interface that pushing and pulling a model uses.

Files are kept by commit, large ones (safetensors) go through Git LFS. The client's other way for those, Xet, has no
server that runs here; HF_HUB_DISABLE_XET=1 leaves it out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Hub:
    """Repositories, and all that was asked.

    Attributes:
        token: that a client must show.
        repositories: by name, the commits in their order, each with all its files.
        requests: method and path of each.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.repositories: dict[str, list[tuple[str, Files]]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = ""

    def commit(self, repository: str, changes: Files) -> str:
        """Add files to a repository; the name of the commit."""
        commits = self.repositories[repository]
        files = {**(commits[-1][1] if commits else {}), **changes}
        name = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits.append((name, files))
        return name

    def files(self, repository: str, revision: str = "main") -> tuple[str, Files] | None:
        """The commit and the files of a revision."""
        commits = self.repositories.get(repository) or []
        if revision == "main":
            return commits[-1] if commits else None
        return next((one for one in commits if one[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _refuse(self) -> None:
        """As careless servers do, with what they were sent."""
        said = f"who is {self.headers.get('Authorization')}?"
        self._answer(401, {"error": said}, {"X-Error-Message": said})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            found = self.hub.files(f"{owner}/{name}", "/".join(rest[1:]) or "main")
            if found is None:
                self._answer(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            else:
                self._answer(200, {"id": f"{owner}/{name}", "sha": found[0], "siblings": []})
            return
        owner, name, resolve, revision, *rest = path.strip("/").split("/")
        found = self.hub.files(f"{owner}/{name}", revision) if resolve == "resolve" else None
        if f"{owner}/{name}" in self.hub.private and not self._is_allowed():
            self._refuse()
        elif found is None or "/".join(rest) not in found[1]:
            self._answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
        else:
            content = found[1]["/".join(rest)]
            tag = hashlib.sha256(content).hexdigest()
            self._answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": found[0]})

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        content = self._body()
        self.hub.requests.append(f"PUT {self.path}")
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self._answer(200)

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        self.hub.requests.append(f"POST {path}")
        if not self._is_allowed():
            self._refuse()
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            upload = {"upload": {"href": f"{self.hub.url}/objects", "header": {}}}
            objects = [
                {"oid": one["oid"], "size": one["size"], "actions": upload} for one in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif "/preupload/" in path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            self._answer(200, {"files": files})
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
        else:
            self._answer(404, {"error": f"no {path} here"})

    def _create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked.get('organization')}/{asked['name']}"
        if repository in self.hub.repositories:
            self._answer(409, {"error": "exists", "url": f"{self.hub.url}/{repository}"})
            return
        self.hub.repositories[repository] = []
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repository)
        self._answer(200, {"url": f"{self.hub.url}/{repository}"})

    def _commit(self, repository: str, body: bytes) -> None:
        changes: Files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changes[value["path"]] = self.hub.objects[value["oid"]]
        name = self.hub.commit(repository, changes)
        self._answer(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/{name}", "commitOid": name})


@contextmanager
def serve(token: str) -> Iterator[Hub]:
    """A hub on a free port, while the block runs."""
    hub = Hub(token)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
