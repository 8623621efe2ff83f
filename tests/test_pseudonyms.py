"""Pseudonyms: the same for the same identity, nothing without the secret, and a secret that only its owner reads."""

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.pseudonyms import Pseudonyms, load_secret, private_folder, write_private

SECRET = bytes(range(32))
text = st.text(max_size=20)


def test_golden() -> None:
    message = b"".join(len(p).to_bytes(8, "big") + p for p in (b"pat", b"Hospital", b"0042"))
    digest = hmac.new(SECRET, message, hashlib.sha256).digest()[:10]
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    number = int.from_bytes(digest, "big")
    letters = "".join(alphabet[number >> 5 * place & 31] for place in range(15, -1, -1))
    assert Pseudonyms(SECRET).of("pat", "Hospital", "0042") == f"pat-{letters}"


@given(text, text, text, text)
def test_one_identity_one_pseudonym(a: str, b: str, c: str, d: str) -> None:
    pseudonyms = Pseudonyms(SECRET)
    assert (pseudonyms.of("pat", a, b) == pseudonyms.of("pat", c, d)) == ((a, b) == (c, d))
    assert pseudonyms.of("pat", a, b) != Pseudonyms(SECRET[::-1]).of("pat", a, b)
    assert pseudonyms.of("pat", a) != pseudonyms.of("img", a)


def test_the_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: load_secret(folder), range(16)))
    assert len(secrets) == 1
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["secret"]
    assert load_secret(tmp_path / "other") not in secrets


def test_a_secret_that_others_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    load_secret(tmp_path)
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(PermissionError, match="mode 640"):
        load_secret(tmp_path)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "secret").write_text("abc")
    with pytest.raises(ValueError, match="damaged"):
        load_secret(tmp_path)
    with pytest.raises(ValueError, match="16 are needed"):
        Pseudonyms(b"short")


def test_private_files_are_the_owner_s(tmp_path: Path) -> None:
    write_private(tmp_path / "list.csv", "a,b\n")
    assert stat.S_IMODE((tmp_path / "list.csv").stat().st_mode) == 0o600
    assert (tmp_path / "list.csv").read_text() == "a,b\n"


def test_where_private_files_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOMAINSSL_PRIVATE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert private_folder() == tmp_path / "domainssl"
    monkeypatch.setenv("DOMAINSSL_PRIVATE", str(tmp_path / "p"))
    assert private_folder() == tmp_path / "p"
