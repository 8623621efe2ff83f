"""One file over HTTP: resumed where it broke off, patient with a busy server, checked by hash, whole or absent."""

import json
import re
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable
from urllib.parse import urlsplit

# Small, since what a broken connection has not filled is lost.
CHUNK = 1 << 16
# Answers that may be different the next time: RFC 9110, 15.5.9 and 15.6; RFC 6585, 4.
BUSY = (429, 503)
PASSING = (408, *BUSY, 500, 502, 504)


class FetchError(OSError):
    """Why something could not be fetched, in one line."""


class NoConnectionError(FetchError):
    """The server was not reached at all."""


class BusyError(FetchError):
    """The server asks for fewer requests, or for more time than we wait."""


class StatusError(FetchError):
    """The server answered, with something else than the file."""


@runtime_checkable
class Count(Protocol):
    """Something being counted."""

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""


@runtime_checkable
class Watch(Protocol):
    """Who is told how far it is; `pipelines.progress.Progress` is one."""

    def note(self, text: str) -> None:
        """One line."""

    def counter(self, what: str, total: int | None = None) -> AbstractContextManager[Count]:
        """Counts up to `total`; None where it is not known."""


@dataclass(frozen=True)
class Patience:
    """How long we wait, in seconds.

    `attempts` in a row may bring nothing new; the wait between them starts at `first_wait` and doubles up to
    `longest_wait`. A server's own Retry-After counts instead, up to `longest_asked`. `timeout` is for a connection, and
    for each piece of an answer. `pause` lies between two requests for small things.
    """

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    longest_asked: float = 900.0
    timeout: float = 60.0
    pause: float = 0.5


@final
class Client:
    """One connection at a time, under our own name."""

    def __init__(self, watch: Watch, patience: Patience | None = None) -> None:
        import requests

        self.watch = watch
        self.patience = patience or Patience()
        self._session = requests.Session()
        # identity: lengths, ranges and hashes are those of the file as it is stored
        self._session.headers.update({"User-Agent": f"domainssl/{_version()}", "Accept-Encoding": "identity"})

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def download(self, url: str, part: Path, shown: str | None = None) -> None:
        """Completes `part` with what `url` holds, from where an earlier download of the same content ended.

        `shown` is the name under which bytes are counted; None: they are not. Raises NoConnectionError, BusyError,
        StatusError, and FetchError where the connection breaks off too often or the disk has no room; `part` stays, to
        be gone on with.
        """
        failures, farthest = 0, _size(part)
        while True:
            try:
                self._attempt(url, part, shown)
            except _Again as again:
                reached = _size(part)
                failures = 1 if reached > farthest else failures + 1
                farthest = max(farthest, reached)
                if failures >= self.patience.attempts:
                    raise again.reason from None
                self._wait(again, failures)
            else:
                _memory(part).unlink(missing_ok=True)
                return

    def read(self, url: str, part: Path) -> bytes:
        """The content of something small, such as a list in JSON, by way of `part`, which does not stay."""
        forget(part)
        try:
            self.download(url, part)
            return part.read_bytes()
        finally:
            forget(part)

    def _wait(self, again: "_Again", failures: int) -> None:
        patience = self.patience
        wait = min(patience.first_wait * 2 ** (failures - 1), patience.longest_wait)
        if again.asked is not None:
            if again.asked > patience.longest_asked:
                raise BusyError(f"{again.reason}; it asks to wait {again.asked:.0f} s: run the same command again then")
            wait = again.asked
        if wait >= 1:
            self.watch.note(f"{again.reason}; trying again in {wait:.0f} s")
        time.sleep(wait)

    def _attempt(self, url: str, part: Path, shown: str | None) -> None:
        import requests
        import urllib3

        host = urlsplit(url).hostname
        done, known = _size(part), _recall(part, url)
        if not known:  # bytes of something else
            forget(part)
            done = 0
        headers = {"Range": f"bytes={done}-"} if done else {}
        if done and known.get("validator"):
            headers["If-Range"] = known["validator"]
        try:
            timeout = self.patience.timeout
            with self._session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self._check_status(response, host, part, done)
                resumed = response.status_code == 206
                total = _total(response)
                if resumed and (_start(response) != done or known.get("total") not in (None, total)):
                    forget(part)
                    raise _Again(FetchError(f"{host}: the file has changed since the download began"))
                done = done if resumed else 0
                _demand_room(part, total, done)
                _remember(part, url, response, total)
                counting = nullcontext() if shown is None else self.watch.counter(f"{shown} (bytes)", total)
                with counting as counter, part.open("ab" if resumed else "wb") as file:
                    if counter:
                        counter.advance(done)
                    for chunk in response.raw.stream(CHUNK, decode_content=False):
                        file.write(chunk)
                        if counter:
                            counter.advance(len(chunk))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Again(_broken(error, host, part)) from None
        if total is not None and _size(part) != total:
            raise _Again(FetchError(f"{host}: the connection broke off after {_size(part):,} of {total:,} bytes"))

    def _check_status(self, response: Any, host: str | None, part: Path, done: int) -> None:
        status = response.status_code
        said = f"{host}: {status} {response.reason}"
        if status in PASSING:
            kind = BusyError if status in BUSY else StatusError
            raise _Again(kind(said), _retry_after(response.headers.get("Retry-After")))
        if status == 416 and done:  # nothing lies behind what we have; or we have more than there is
            forget(part)
            raise _Again(FetchError(f"{said}; beginning anew"))
        if status not in (200, 206):
            raise StatusError(said)


def fetch_file(client: Client, url: str, path: Path, known_hash: str | None) -> str:
    """Makes `path` hold what `url` does, and gives its hash as "algorithm:digits".

    A file of the right hash is left as it is. Without `known_hash` any content is taken, and the SHA-256 of what came
    is kept beside it in NAME.sha256, by which the file is known from then on. The file is whole or absent; bytes of a
    wrong hash are removed. Raises FetchError and its kinds, the remedy in the message.
    """
    import pooch

    own = path.with_name(f"{path.name}.sha256")
    if known_hash is None and own.is_file() and path.is_file():
        known_hash = f"sha256:{own.read_text().split()[0]}"

    # pooch's own downloader begins anew each time: ours goes on with a part under a name that it finds again
    def downloader(url: str, output_file: str, _: object) -> None:
        part = path.with_name(f".{path.name}.part")
        client.download(url, part, path.name)
        part.replace(output_file)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except NoConnectionError as error:
        raise NoConnectionError(f"{error}; fetch the file by hand from {url} and put it to {path}") from None
    except FetchError as error:
        raise type(error)(f"{path.name}: {error} ({url})") from None
    except ValueError as error:
        if "hash" not in str(error):
            raise
        digits = re.findall(r"[0-9a-f]{32,}", str(error))
        raise FetchError(
            f"{path.name}: the hash is wrong ({', '.join(digits) or error}); what came from {url} was removed: run the "
            "same command again, and if that does not help, the file at the source has changed"
        ) from None
    finally:
        logger.setLevel(level)
    if known_hash is None:
        digits = pooch.file_hash(str(path), "sha256")
        own.write_text(f"{digits}  {path.name}\n")
        return f"sha256:{digits}"
    return known_hash if ":" in known_hash else f"sha256:{known_hash}"


def forget(part: Path) -> None:
    """Removes a part and what was remembered of where it came from."""
    part.unlink(missing_ok=True)
    _memory(part).unlink(missing_ok=True)


class _Again(Exception):  # noqa: N818 - a turn of the loop, never seen outside
    def __init__(self, reason: FetchError, asked: float | None = None) -> None:
        self.reason = reason
        self.asked = asked


def _broken(error: Exception, host: str | None, part: Path) -> FetchError:
    import requests
    import urllib3

    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    cause = getattr(inner, "reason", None) or inner
    text = re.sub(r"^<?[\w.]*\(?.*?\)?>?: (?=\S)", "", str(cause)).strip() or type(error).__name__
    aborted = isinstance(inner, urllib3.exceptions.ProtocolError)  # it was there, and hung up
    if isinstance(error, requests.ConnectionError) and not aborted:
        return NoConnectionError(f"no connection to {host}: {text}")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        raise FetchError(f"{host}: {text}") from None
    what = "sent nothing for too long" if "timed out" in str(error).lower() else "broke off the connection"
    return FetchError(f"{host} {what} after {_size(part):,} bytes; run the same command again to go on from there")


def _memory(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, url: str, response: Any, total: int | None) -> None:
    tag = response.headers.get("ETag", "")
    # a weak tag may not stand in If-Range (RFC 9110, 13.1.5)
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    _memory(part).write_text(json.dumps({"url": url, "validator": validator, "total": total}))


def _recall(part: Path, url: str) -> dict[str, Any]:
    """What was remembered of a part of this address; {} where there is none, or of another."""
    try:
        known = json.loads(_memory(part).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and known.get("url") == url else {}


def _total(response: Any) -> int | None:
    """Bytes of the whole file, None where the server does not say."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _start(response: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, 10.2.3); None where neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _demand_room(part: Path, total: int | None, done: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - done > free:
        raise FetchError(f"{part.parent} has {free:,} bytes free and {total - done:,} more are needed; free some space")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _version() -> str:
    try:
        return version("domainssl")
    except PackageNotFoundError:  # run from its source
        return "source"
