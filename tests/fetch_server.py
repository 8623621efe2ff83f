"""A server on this machine that misbehaves as told (it drops connections, is busy), and small files to serve."""

import hashlib
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import h5py
import numpy as np
import pytest

from catalogs.fetch.collections import COLLECTIONS, Collection
from pipelines import fetching

# What one request gets: (status, headers, body); a body that is shorter than Content-Length is a dropped connection.
Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Server:
    """`files` by path without the query. `faults` are taken before them, one a request: a function of the request."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Callable[[Any], Answer | None]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    validator: str = '"one"'

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers, _ in self.requests]


def status(code: int, **headers: str) -> Callable[[Any], Answer]:
    plain = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: (code, {"Content-Length": "0", **plain}, b"")


def dropped(server: Server, path: str, after: int) -> Callable[[Any], Answer]:
    """The file's headers, and only so many of its bytes."""

    def answer(request: Any) -> Answer:
        code, headers, body = regular(server, path, request.headers)
        return code, headers, body[:after]

    return answer


def hung_up(request: Any) -> None:
    """The end of the connection, in place of an answer."""
    request.connection.shutdown(socket.SHUT_RDWR)


def regular(server: Server, path: str, headers: Mapping[str, str]) -> Answer:
    content = server.files.get(path)
    if content is None:
        return 404, {"Content-Length": "0"}, b""
    told = {"ETag": server.validator}
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range") or "")
    if asked and headers.get("If-Range") in (None, server.validator):
        start = int(asked[1])
        if start >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b""
        told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, {**told, "Content-Length": str(len(content) - start)}, content[start:]
    return 200, {**told, "Content-Length": str(len(content))}, content


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            known.requests.append((self.path, dict(self.headers), time.monotonic()))
            known.open += 1
            known.most_open = max(known.open, known.most_open)
            try:
                answer = known.faults.pop(0)(self) if known.faults else None
                code, headers, body = answer or regular(known, path, self.headers)
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            finally:
                known.open -= 1

        def log_message(self, *_: object) -> None:
            pass

    class Quietly(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:  # clients that are gone
            pass

    server = Quietly(("127.0.0.1", 0), Handler)
    known = Server(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hdf5(answers: str, count: int, classes: int, size: int, beside: bool = False) -> bytes:
    file = io.BytesIO()
    rng = np.random.default_rng(count)
    with h5py.File(file, "w") as opened:
        opened["images"] = rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8)
        opened[answers] = np.sort(np.arange(count) % classes).astype(np.uint8)
        if beside:
            for name in ("ra", "dec", "redshift", "pxscale"):
                opened[name] = rng.uniform(0, 1, count)
    return file.getvalue()


def put(monkeypatch: pytest.MonkeyPatch, server: Server, name: str, contents: dict[str, bytes]) -> Collection:
    """The collection with the hashes of small files that the server holds under the same names."""
    collection = COLLECTIONS[name]
    server.files |= {f"/{file}": content for file, content in contents.items()}
    assert [file.name for file in collection.files] == list(contents)
    files = tuple(replace(file, hash=file.hash and sha256(contents[file.name])) for file in collection.files)
    changed = replace(collection, files=files)
    monkeypatch.setattr(fetching, "COLLECTIONS", {**COLLECTIONS, name: changed})
    return changed
