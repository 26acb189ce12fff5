"""Model folders on a model hub: the only file that imports huggingface_hub.

The client finds the hub by HF_ENDPOINT, and who asks by HF_TOKEN or `hf auth login`. A token is never an option here,
and whatever the client says is shown without it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dualtk.checksums import FILE, listed, require_unaltered
from dualtk.config import FILE as CONFIG
from dualtk.errors import InputError
from dualtk.extras import extra
from dualtk.files import atomic_folder
from dualtk.version import __version__

with extra("hub"):
    import huggingface_hub
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

NETWORK = "model.safetensors"
HINTS = {
    401: "not allowed: set HF_TOKEN, or run `hf auth login`; or there is no such repository",
    403: "not allowed: the token has no permission for that",
    404: "no such repository, revision or file",
}


@dataclass(frozen=True)
class Pushed:
    """Where a folder went: the address of the repository, and the commit."""

    url: str
    commit: str


def push(folder: Path, repository: str, *, private: bool, message: str, revision: str | None = None) -> Pushed:
    """Put a folder of `dualtk pack` on the hub: the files that its sums name, and nothing else that lies there.

    Args:
        folder: the model folder.
        repository: `OWNER/NAME`; made where it is absent.
        private: whether a repository that is made is.
        message: of the commit.
        revision: branch; None: the main one.

    Raises:
        InputError: no model folder, an altered file, or what the hub refuses.
    """
    if not (folder / FILE).is_file():
        raise InputError(f"{folder}: no model folder, it has no {FILE}: write one by `dualtk pack`")
    names = [*_names(folder), FILE]
    require_unaltered(folder)
    with _told(repository):
        api = _api()
        url = str(api.create_repo(repository, private=private, exist_ok=True))
        operations = [CommitOperationAdd(name, str(folder / name)) for name in names]
        commit = api.create_commit(repository, operations, commit_message=message, revision=revision)
    return Pushed(url, commit.oid)


def pull(repository: str, folder: Path, revision: str | None = None) -> str:
    """Fetch a model folder, whole and unaltered or not at all; its files can be read by everyone.

    Args:
        repository: `OWNER/NAME`.
        folder: that is not there yet.
        revision: branch, tag or commit; None: the main branch.

    Returns:
        The commit.

    Raises:
        InputError: a folder that is there, what the hub refuses, or files that are not what their sums say.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already")
    with atomic_folder(folder) as temporary:
        temporary.mkdir(parents=True)
        with _told(repository):
            api = _api()
            commit = str(api.model_info(repository, revision=revision).sha)
            api.hf_hub_download(repository, FILE, revision=commit, local_dir=temporary)
            for name in _names(temporary, repository):
                api.hf_hub_download(repository, name, revision=commit, local_dir=temporary)
        shutil.rmtree(temporary / ".cache", ignore_errors=True)  # the client's notes on where files came from
        require_unaltered(temporary, repository)
        for path in (temporary, *temporary.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return commit


def _api() -> HfApi:
    return HfApi(library_name="dualtk", library_version=__version__)


def _names(folder: Path, source: str | None = None) -> list[str]:
    """The files that the sums of a model folder name.

    Raises:
        InputError: there is no network among them.
    """
    names = list(listed(folder, source))
    for wanted in (CONFIG, NETWORK):
        if wanted not in names:
            raise InputError(f"{source or folder}: no model folder of `dualtk pack`: its {FILE} has no {wanted}")
    return names


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """What the client raises is said in one line, without the token.

    Raises:
        InputError: instead; without its cause, whose text may hold what a server echoed.
    """
    try:
        yield
    except InputError:
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code
        line = HINTS.get(status) or _first_line(error)
        raise InputError(f"{repository}: the hub answers {status}: {line}") from None
    except Exception as error:
        raise InputError(f"{repository}: {type(error).__name__}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    token = huggingface_hub.get_token()
    return line.replace(token, "***") if token else line
