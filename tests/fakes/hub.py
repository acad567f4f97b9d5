"""A hub on this machine: the few addresses that are asked for a model, served from a folder."""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_COMMIT = re.compile(r"(?<=/)[0-9a-f]{40}(?=/|\Z)")


class Handler(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    error: tuple[int, str] | None
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.error is not None:
            status, code = self.error
            self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
        elif "/resolve/" in self.path:
            self.send_file(self.path.partition("/resolve/")[2].partition("/")[2])
        elif "/tree/" in self.path:
            self.answer(200, json.dumps([self.entry(name) for name in self.files]).encode())
        else:
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": "org/name", "sha": self.newest_or_named(), "siblings": siblings}
            self.answer(200, json.dumps(info).encode())

    do_HEAD = do_GET

    def entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {
            "type": "file",
            "path": name,
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
        }

    def send_file(self, name: str) -> None:
        content = self.files.get(name)
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        tag = hashlib.sha1(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": self.newest_or_named()})

    def newest_or_named(self) -> str:
        """The one that is asked for; of a branch or tag, and where none is named, the newest."""
        named = _COMMIT.search(self.path)
        return named[0] if named else COMMIT

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def isolate(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and no word from the environment about the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)


def point_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take the address for the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextmanager
def serving(
    folder: Path | None = None, error: tuple[int, str] | None = None, asked: list[str] | None = None
) -> Iterator[str]:
    """The address of a hub that has the files of `folder`, or answers everything with `error`.

    The paths that it is asked for are added to `asked`.
    """
    files = {path.name: path.read_bytes() for path in folder.iterdir()} if folder else {}
    heard = [] if asked is None else asked
    handler = type("Serving", (Handler,), {"files": files, "error": error, "asked": heard})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes calls and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
