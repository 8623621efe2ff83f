"""Names that stand for patients, images and sources: keyed hashes, whose secret never leaves this machine.

A plain hash would be no protection, since record numbers can be enumerated.
"""

import base64
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import final

_BYTES = 32


@final
class Pseudonyms:
    """Gives the same pseudonym for the same identity under one secret, and tells nothing without it."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError(f"the secret has {len(secret)} bytes; at least 16 are needed")
        self._secret = secret

    def of(self, kind: str, *parts: str) -> str:
        """`kind` and 16 letters and digits: 80 bits of HMAC-SHA256 (RFC 2104) over the kind and all parts.

        Parts are told apart by their lengths, so ("ab", "c") and ("a", "bc") differ.
        """
        message = b"".join(
            len(part).to_bytes(8, "big") + part
            for part in (text.encode("utf-8", "surrogateescape") for text in (kind, *parts))
        )
        digest = hmac.digest(self._secret, message, "sha256")
        return f"{kind}-{base64.b32encode(digest[:10]).decode().lower()}"


def private_folder() -> Path:
    """Where the secret and the lists of sources lie: $DOMAINSSL_PRIVATE, else domainssl in the user's data folder."""
    if chosen := os.environ.get("DOMAINSSL_PRIVATE"):
        return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "domainssl"


def load_secret(folder: Path) -> bytes:
    """The secret in `folder`, made with mode 0600 at its first use.

    Raises PermissionError where others than its owner may read it, and ValueError where it is damaged: a new one would
    give everybody new pseudonyms without a word.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "secret"
    part = folder / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
    if not path.exists():
        write_private(part, secrets.token_hex(_BYTES))
        try:
            os.link(part, path)  # whole or not at all, and never over another process's
        except FileExistsError:
            pass
        finally:
            part.unlink()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PermissionError(
            f"the secret {path} may be read by others than its owner (mode {mode:o}); give it mode 600"
        )
    try:
        secret = bytes.fromhex(path.read_text())
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise ValueError(f"the secret {path} is damaged; restore it, or delete it to give everybody new pseudonyms")
    return secret


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
