"""Zip archives: the bytes of the files they hold, nothing on disk, and no names in what is said."""

import io
import itertools
import os
import random
import stat
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import radiograph, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from catalogs.canonical import CatalogSource
from catalogs.chest_xrays import archives
from catalogs.chest_xrays.archives import DamagedMemberError, list_members, open_source, source_size
from catalogs.columns import Columns
from catalogs.errors import CatalogError
from catalogs.inspection import inspect
from catalogs.reading import Refusal
from catalogs.scanning import ANY_SUFFIX, scan
from catalogs.tables import read_catalog

TOKEN = "Zqxwvtoken"
FILES = {
    "IMAGES/IM000001": b"first",
    "IMAGES/IM000002": b"second" * 30_000,
    "IMAGES/sub/1.2.840": bytes(range(256)) * 800,
}


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def content(path: Path) -> bytes | Refusal:
    source = open_source(path)
    if isinstance(source, Refusal):
        return source
    with source as file:
        try:
            return file.read()
        except DamagedMemberError as error:
            return error.refusal


def refused(path: Path) -> str:
    answer = content(path)
    assert isinstance(answer, Refusal), answer
    assert TOKEN.lower() not in f"{answer.reason} {answer.detail}".lower()
    return answer.reason


# ---- members


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_listed_and_opened_as_the_unpacked_files_would_be(tmp_path: Path, method: int) -> None:
    archive = packed(tmp_path / "a.zip", FILES, method)
    with zipfile.ZipFile(archive) as whole:
        whole.extractall(tmp_path / "folder")
    assert list_members(archive) == sorted(FILES)
    for name, expected in FILES.items():
        assert content(archive / name) == expected
        assert content(tmp_path / "folder" / name) == expected
        assert source_size(archive / name) == source_size(tmp_path / "folder" / name) == len(expected)
    zipped, unpacked = (scan(images, None, ("grey",), ANY_SUFFIX) for images in (archive, tmp_path / "folder"))
    pd.testing.assert_frame_equal(zipped, unpacked)


_TICKS = itertools.count(1)


@given(
    files=st.dictionaries(
        st.lists(st.text("abIM0189._-é ", min_size=1, max_size=9), min_size=1, max_size=3).map("/".join),
        st.binary(min_size=1, max_size=300) | st.integers(1, 400_000).map(lambda n: random.Random(n).randbytes(n)),
        max_size=5,
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    steps=st.lists(st.tuples(st.integers(-5, 400_000), st.integers(0, 200_000)), max_size=6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_listing_then_opening_gives_the_bytes(
    files: dict[str, bytes], method: int, steps: list[tuple[int, int]], tmp_path: Path
) -> None:
    files = {name: data for name, data in files.items() if not any(p.startswith(".") for p in name.split("/"))}
    archive = packed(tmp_path / "p.zip", files, method)
    os.utime(archive, ns=(0, next(_TICKS)))  # examples follow one another within the clock's grain
    assert set(list_members(archive)) == set(files)
    for name, data in files.items():
        assert content(archive / name) == data
        source = open_source(archive / name)
        assert not isinstance(source, Refusal)
        with source as file, io.BytesIO(data) as plain:
            for place, size in steps:
                assert file.seek(max(0, place)) == plain.seek(max(0, place))
                assert file.read(size) == plain.read(size)
                assert file.tell() == plain.tell()
            assert file.seek(0, io.SEEK_END) == len(data)


def test_a_path_of_a_member_can_be_no_file_and_of_a_folder_is_no_member(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"x": b"member"})
    with pytest.raises(NotADirectoryError):
        (archive / "x").open("rb")
    folder = tmp_path / "folder.zip"
    folder.mkdir()
    (folder / "x").write_bytes(b"file")
    assert content(folder / "x") == b"file"
    assert content(archive / "x") == b"member"
    assert content(tmp_path / "A.ZIP" / "x") == Refusal("missing", "there is no such file")


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    names = ["a", ".hidden", ".git/b", "__MACOSX/._a", "c/._a", "DICOMDIR", "c/dicomdir", "read.txt", "report.PDF"]
    archive = packed(tmp_path / "a.zip", {"empty/": b"", **dict.fromkeys(names, b"x")})
    assert list_members(archive) == sorted(["a", "DICOMDIR", "c/dicomdir", "read.txt", "report.PDF"])
    assert scan(archive, None, ("grey",), ANY_SUFFIX)["file"].tolist() == ["a"]
    with pytest.raises(CatalogError, match="holds no file"):
        scan(packed(tmp_path / "b.zip", {"a.txt": b"x"}), None, ("grey",), ANY_SUFFIX)


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "//host/x", "\\x", "C:\\x", "c:x", "..\\x", "a\\..\\x", ".."]
)
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    archive = packed(tmp_path / "a.zip", {name: b"inside", f"{TOKEN}": b"good"})
    assert list_members(archive) == ["(unsafe name 1)", TOKEN]
    assert refused(archive / "(unsafe name 1)") == "unsafe_name"
    assert content(archive / TOKEN) == b"good"
    assert refused(archive / "../x") == "missing"


def test_odd_members_cost_themselves_alone(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", {"x": b"x"}).read_bytes()
    archive = packed(tmp_path / "a.zip", {"good": b"good", "nested.zip": inner, "nested": inner, "none": b""})
    with zipfile.ZipFile(archive, "a") as whole:
        whole.writestr("lzma", b"x" * 99, zipfile.ZIP_LZMA)
        whole.writestr("bzip2", b"x" * 99, zipfile.ZIP_BZIP2)
    reasons = {name: refused(archive / name) for name in list_members(archive) if name != "good"}
    assert reasons == {
        **{"nested.zip": "archive", "nested": "archive", "none": "empty"},
        **{"lzma": "undecodable", "bzip2": "undecodable"},
    }
    assert refused(archive / "nope") == refused(archive / "good/nope") == refused(archive / "nested.zip/x") == "missing"
    assert refused(archive) == refused(tmp_path / "inner.zip") == "archive"
    assert content(archive / "good") == b"good"
    polyglot = inner[:100].ljust(128, b"\0") + b"DICM"  # a preamble may hold anything (PS3.10 7.1)
    assert content(packed(tmp_path / "p.zip", {"a": polyglot}) / "a") == polyglot


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for data in (b"old", b"new"):
            archive.writestr("a", data)
    assert list_members(tmp_path / "a.zip") == ["a"]
    assert content(tmp_path / "a.zip" / "a") == b"new"


def patched(archive: Path, name: str, offset: int, value: bytes) -> None:
    """Overwrite a field in the member's entry of the central directory (APPNOTE 4.3.12)."""
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\1\2")
    while data[entry + 46 : entry + 46 + len(name)] != name.encode():
        entry = data.index(b"PK\1\2", entry + 4)
    data[entry + offset : entry + offset + len(value)] = value
    archive.write_bytes(data)
    os.utime(archive, ns=(0, random.randrange(2**60)))


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {TOKEN: b"secret", "good": b"good"})
    patched(archive, TOKEN, 8, b"\1\0")
    assert refused(archive / TOKEN) == "encrypted"
    assert content(archive / "good") == b"good"


def test_a_bomb_is_refused_by_what_it_declares_and_never_inflated_beyond(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    size = archives.MAX_BYTES + 1
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        for name in ("declared", "lying"):
            with whole.open(name, "w") as member:
                for _ in range(0, size, 2**24):
                    member.write(bytes(2**24))
    patched(archive, "lying", 24, struct.pack("<I", 3_000_000))
    assert archive.stat().st_size < 4_000_000
    tracemalloc.start()
    try:
        assert refused(archive / "declared") == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        source = open_source(archive / "lying")
        assert not isinstance(source, Refusal)
        with source as file:
            assert file.read(1000) == bytes(1000)  # a header costs no more than a header
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
            with pytest.raises(DamagedMemberError, match="damaged"):
                file.read()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_member_shorter_than_declared_is_damaged(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"a": bytes(1000)})
    patched(archive, "a", 24, struct.pack("<I", 5000))
    assert refused(archive / "a") == "undecodable"


def test_zip64_and_one_reading_of_the_list_for_all_members(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as whole:
        for number in range(66_000):  # more than 65,535 need zip64
            whole.writestr(f"I/{number:06d}", b"%d" % number)
        with whole.open("large", "w", force_zip64=True) as member:
            member.write(b"large")
    archives._opened.cache_clear()
    members = list_members(archive)
    assert len(members) == 66_001
    assert all(content(archive / name) == b"%d" % int(name[2:]) for name in members[:-1:499])
    assert content(archive / "large") == b"large"
    assert archives._opened.cache_info().misses == 1


def test_a_list_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 70_000)  # zipfile reads as much to find the end of the archive
    archive = packed(tmp_path / "a.zip", {f"{number:0200d}": b"x" for number in range(300)})
    assert refused(archive / f"{0:0200d}") == "too_large"
    with pytest.raises(CatalogError, match="more than 70,000 bytes"):
        list_members(archive)


def test_an_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"a": b"old"})
    assert content(archive / "a") == b"old"
    packed(archive, {"b": b"newer!"})
    assert list_members(archive) == ["b"]
    assert content(archive / "b") == b"newer!"
    archive.unlink()
    assert refused(archive / "b") == "missing"


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "a.zip", FILES)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "temporary")
    for name in list_members(archive):
        content(archive / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "temporary"]


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -1, -30])
def test_damaged_archives_are_told_without_names(tmp_path: Path, cut: int) -> None:
    archive = packed(tmp_path / f"{TOKEN}.zip", {f"{TOKEN}{n}": b"x" * 99 for n in range(9)})
    archive.write_bytes(archive.read_bytes()[:cut])
    assert refused(archive / f"{TOKEN}1") == "undecodable"
    with pytest.raises(CatalogError) as error:
        scan(archive, None, ("grey",), ANY_SUFFIX)
    assert TOKEN not in error.value.public
    assert "unpack it and name the folder" in error.value.public


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 12))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_raises_anything_else_or_says_a_name(seed: int, flips: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = bytearray(
        packed(tmp_path / "whole.zip", {f"{TOKEN}{n}": rng.randbytes(80) * 3 for n in range(4)}).read_bytes()
    )
    for _ in range(flips):
        data[rng.randrange(len(data))] = rng.randrange(256)
    archive = tmp_path / "damaged.zip"
    archive.write_bytes(data)
    os.utime(archive, ns=(0, seed))
    try:
        members = list_members(archive)
    except CatalogError as error:
        assert TOKEN not in error.public  # noqa: PT017 - most damage raises nothing
        members = []
    for name in [*members, f"{TOKEN}0"]:
        answer = content(archive / name)
        if isinstance(answer, Refusal):
            assert TOKEN not in answer.reason + answer.detail


def test_pydicom_reads_members_as_files(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4095, (200, 300)).astype(np.uint16)
    for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        plain = write(radiograph(stored, bits=12, syntax=syntax), tmp_path / syntax)
        archive = packed(tmp_path / f"{syntax}.zip", {"IM": plain.read_bytes()})
        source = open_source(archive / "IM")
        assert not isinstance(source, Refusal)
        with source as file:
            found = pydicom.dcmread(file)
        assert found == pydicom.dcmread(plain)
        assert np.array_equal(found.pixel_array, stored)


def test_one_limit_for_files_and_members(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(archives.MAX_BYTES + 1)
    (tmp_path / "b").touch()
    assert refused(tmp_path / "a") == "too_large"
    assert refused(tmp_path / "b") == "empty"
    assert refused(tmp_path / "c") == "missing"


def test_a_table_names_members(tmp_path: Path) -> None:
    archive = packed(tmp_path / "Export.ZIP", FILES)
    table = tmp_path / "labels.csv"
    table.write_text("image_id,file,finding\n1,IMAGES/IM000002,ill\n2,,well\n3,IMAGES/nope,ill\n")
    source = CatalogSource("pacs", table, archive, Columns(), ("grey",), suffixes=ANY_SUFFIX)
    frame = read_catalog(source, ("finding",))
    assert [len(paths) for paths in frame["paths"]] == [1, 0, 1]
    assert content(Path(frame["paths"][0][0])) == FILES["IMAGES/IM000002"]
    assert refused(Path(frame["paths"][2][0])) == "missing"
    source = CatalogSource("pacs", None, archive, Columns(), ("grey",), suffixes=ANY_SUFFIX)
    frame = read_catalog(source, ())
    assert {
        name: content(Path(paths[0])) for name, paths in zip(frame["object_id"], frame["paths"], strict=True)
    } == FILES
    pattern = CatalogSource("p", None, archive, Columns(), ("grey",), "IMAGES/IM{id}", suffixes=ANY_SUFFIX)
    frame = read_catalog(pattern, ())
    assert frame["object_id"].tolist() == ["000001", "000002"]
    assert content(Path(frame["paths"][0][0])) == FILES["IMAGES/IM000001"]


def test_galaxies_refuse_archives_as_ever(tmp_path: Path) -> None:
    found = inspect(packed(tmp_path / "a.zip", FILES))
    assert (found.files, found.readable) == (1, 0)
    assert next(iter(found.refusals.values())).example == "a.zip"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read any file")
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(stat.S_IWUSR)
    with pytest.raises(PermissionError):
        open_source(tmp_path / "a")
