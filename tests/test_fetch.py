"""Fetching from a server on this machine: interruptions, busy servers, wrong hashes, hostile archives, cutouts."""

import gzip
import hashlib
import io
import json
import socket
import stat
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from fetch_server import Server, dropped, hdf5, hung_up, put, serving, sha256, status
from hypothesis import given
from hypothesis import strategies as st

from catalogs.fetch.collections import COLLECTIONS
from catalogs.fetch.download import (
    BusyError,
    Client,
    FetchError,
    NoConnectionError,
    Patience,
    StatusError,
    fetch_file,
)
from catalogs.fetch.legacy_cutouts import CutoutRequest, read_positions
from catalogs.fetch.unpack import unpack_gzip, unpack_zip
from catalogs.fetch.zenodo import published_hashes
from catalogs.quarantine import read_quarantine
from pipelines import fetching
from pipelines.fetching import FetchUseError, Positions, fetch, plan, positions_from
from pipelines.progress import Quiet
from pipelines.recipe import load_recipe

QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=0.02, longest_asked=2.0, timeout=2.0, pause=0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(Quiet(), QUICK) as opened:
        yield opened


@pytest.fixture
def content() -> bytes:
    return np.random.default_rng(0).bytes(400_000)


def served(server: Server, content: bytes, name: str = "a.h5") -> str:
    server.files[f"/{name}"] = content
    return f"{server.url}/{name}"


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


# --- one file


def test_a_file_comes_whole_with_our_name_and_is_not_fetched_twice(server, client, content, tmp_path):
    url = served(server, content)
    for _ in range(2):
        assert fetch_file(client, url, tmp_path / "a.h5", sha256(content)) == sha256(content)
    assert (tmp_path / "a.h5").read_bytes() == content
    assert len(server.requests) == 1
    assert server.requests[0][1]["User-Agent"].startswith("domainssl/")
    assert not parts(tmp_path)


def test_a_dropped_connection_is_resumed_by_range(server, client, content, tmp_path):
    url = served(server, content)
    server.faults = [dropped(server, "/a.h5", 200_000), dropped(server, "/a.h5", 100_000)]
    fetch_file(client, url, tmp_path / "a.h5", sha256(content))
    assert (tmp_path / "a.h5").read_bytes() == content
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in server.ranges() if text]
    assert len(starts) == 2
    assert 0 < starts[0] <= 200_000
    assert starts[0] < starts[1] <= 300_000
    assert server.requests[1][1]["If-Range"] == '"one"'


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, client, content, tmp_path):
    url = served(server, content)
    server.faults = [dropped(server, "/a.h5", 150_000), status(500), status(500)]
    with pytest.raises(StatusError, match=r"a\.h5: 127\.0\.0\.1: 500"):
        fetch_file(client, url, tmp_path / "a.h5", sha256(content))
    assert parts(tmp_path)
    server.requests.clear()
    fetch_file(client, url, tmp_path / "a.h5", sha256(content))
    assert (tmp_path / "a.h5").read_bytes() == content
    assert server.ranges()[0] not in (None, "bytes=0-")
    assert not parts(tmp_path)


@pytest.mark.parametrize("change", ["validator", "length"])
def test_a_file_that_changed_in_between_is_begun_anew(server, client, content, tmp_path, change):
    url = served(server, content)
    server.faults = [dropped(server, "/a.h5", 150_000), *[status(500)] * 2]
    with pytest.raises(StatusError):
        fetch_file(client, url, tmp_path / "a.h5", None)
    if change == "validator":
        server.validator = '"two"'
    other = content[::-1] + (b"more" if change == "length" else b"")
    served(server, other)
    fetch_file(client, url, tmp_path / "a.h5", None)
    assert (tmp_path / "a.h5").read_bytes() == other


def test_a_server_without_ranges_is_begun_anew(server, client, content, tmp_path):
    url = served(server, content)
    whole = (200, {"Content-Length": str(len(content))}, content)
    server.faults = [dropped(server, "/a.h5", 150_000), lambda request: whole]
    fetch_file(client, url, tmp_path / "a.h5", sha256(content))
    assert (tmp_path / "a.h5").read_bytes() == content


def test_a_part_longer_than_the_file_is_begun_anew(server, client, content, tmp_path):
    url = served(server, content)
    (tmp_path / ".a.h5.part").write_bytes(content * 2)
    (tmp_path / ".a.h5.part.json").write_text(json.dumps({"url": url, "validator": '"one"', "total": len(content)}))
    fetch_file(client, url, tmp_path / "a.h5", sha256(content))
    assert (tmp_path / "a.h5").read_bytes() == content


def test_a_part_of_another_address_is_not_mixed_in(server, client, content, tmp_path):
    (tmp_path / ".a.h5.part").write_bytes(b"other")
    (tmp_path / ".a.h5.part.json").write_text("[]")
    fetch_file(client, served(server, content), tmp_path / "a.h5", sha256(content))
    assert server.ranges() == [None]


def test_a_wrong_hash_is_refused_and_nothing_stays(server, client, content, tmp_path):
    with pytest.raises(FetchError, match="hash is wrong") as caught:
        fetch_file(client, served(server, content), tmp_path / "a.h5", sha256(b"other"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(server, client, content, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"damaged")
    fetch_file(client, served(server, content), tmp_path / "a.h5", f"md5:{hashlib.md5(content).hexdigest()}")
    assert (tmp_path / "a.h5").read_bytes() == content


def test_without_a_published_hash_our_own_is_recorded_and_holds(server, client, content, tmp_path):
    url = served(server, content)
    assert fetch_file(client, url, tmp_path / "a.h5", None) == sha256(content)
    assert (tmp_path / "a.h5.sha256").read_text() == f"{sha256(content)[7:]}  a.h5\n"
    (tmp_path / "a.h5").write_bytes(b"damaged")
    assert fetch_file(client, url, tmp_path / "a.h5", None) == sha256(content)
    assert (tmp_path / "a.h5").read_bytes() == content


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(server, client, content, tmp_path, code):
    server.faults = [status(code, Retry_After="1")]
    fetch_file(client, served(server, content), tmp_path / "a.h5", None)
    (_, _, first), (_, _, second) = server.requests
    assert 1 <= second - first < 2.5


@pytest.mark.parametrize("asked", ["3600", "date"])
def test_a_server_that_asks_for_more_than_our_patience_is_left_alone(server, client, tmp_path, asked):
    text = formatdate(time() + 3600, usegmt=True) if asked == "date" else asked
    server.faults = [status(429, Retry_After=text)]
    with pytest.raises(BusyError, match=r"asks to wait 3[56]"):
        fetch_file(client, f"{server.url}/a.h5", tmp_path / "a.h5", None)
    assert len(server.requests) == 1


def test_a_missing_file_is_refused_at_once_and_a_broken_server_after_some_tries(server, client, tmp_path):
    with pytest.raises(StatusError, match="404"):
        fetch_file(client, f"{server.url}/a.h5", tmp_path / "a.h5", None)
    assert len(server.requests) == 1
    server.faults = [status(500)] * 9
    with pytest.raises(StatusError, match="500"):
        fetch_file(client, f"{server.url}/a.h5", tmp_path / "a.h5", None)
    assert len(server.requests) == 1 + QUICK.attempts
    assert not (tmp_path / "a.h5").exists()


def test_waits_double_up_to_a_limit(server, monkeypatch, tmp_path):
    waits: list[float] = []
    monkeypatch.setattr("catalogs.fetch.download.time", SimpleNamespace(sleep=waits.append))
    server.faults = [status(502)] * 9
    patience = Patience(attempts=6, first_wait=1.0, longest_wait=6.0)
    with Client(Quiet(), patience) as client, pytest.raises(StatusError):
        client.download(f"{server.url}/a", tmp_path / "a")
    assert waits == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_no_connection_says_what_to_do_by_hand(client, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.h5"
        with pytest.raises(NoConnectionError) as caught:
            fetch_file(client, url, tmp_path / "a.h5", None)
    text = str(caught.value)
    assert text.startswith("no connection to 127.0.0.1: ")
    assert text.endswith(f"; fetch the file by hand from {url} and put it to {tmp_path / 'a.h5'}")
    assert "0x" not in text
    assert "\n" not in text


def test_a_server_that_falls_silent_ends_in_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.h5"
        with (
            Client(Quiet(), replace(QUICK, attempts=2, timeout=0.2)) as client,
            pytest.raises(FetchError, match="sent nothing for too long"),
        ):
            fetch_file(client, url, tmp_path / "a.h5", None)


def test_a_server_that_hangs_up_is_tried_again(server, client, content, tmp_path):
    server.faults = [hung_up]
    fetch_file(client, served(server, content), tmp_path / "a.h5", None)
    server.faults = [hung_up] * 9
    with pytest.raises(FetchError, match="broke off the connection") as caught:
        fetch_file(client, f"{server.url}/b.h5", tmp_path / "b.h5", None)
    assert not isinstance(caught.value, NoConnectionError)


def test_a_full_disk_is_said_before_the_download(server, client, content, tmp_path, monkeypatch):
    monkeypatch.setattr("catalogs.fetch.download.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(FetchError, match="1,000 bytes free"):
        fetch_file(client, served(server, content), tmp_path / "a.h5", None)


def test_zenodo_s_own_list_gives_the_hashes(server, client, tmp_path):
    listed = {"files": [{"key": "a.zip", "size": 3, "checksum": "md5:900150983cd24fb0d6963f7d28e17f72"}]}
    server.files = {"/1": json.dumps(listed).encode(), "/2": b"<html>", "/3": b'{"files": [1]}'}
    for _ in range(2):  # the list is kept
        assert published_hashes(client, "1", tmp_path, server.url) == {"a.zip": "md5:900150983cd24fb0d6963f7d28e17f72"}
    for record in ("2", "3"):
        with pytest.raises(FetchError, match="no list of files"):
            published_hashes(client, record, tmp_path, server.url)
    assert server.paths() == ["/1", "/2", "/3"]
    assert [path.name for path in tmp_path.iterdir()] == ["zenodo_1.json"]


# --- archives


def archive(path: Path, entries: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            opened.writestr(info, data)
    return path


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "C:/out.png", "..\\out.png"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    hostile = archive(tmp_path / "a.zip", {"fine.png": b"x", name: b"x"})
    with pytest.raises(FetchError, match="leads out of the folder"):
        unpack_zip(hostile, tmp_path / "inside" / "images", (".png",), Quiet())
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_links_and_bombs_are_refused(tmp_path):
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(FetchError, match="is a link"):
        unpack_zip(archive(tmp_path / "l.zip", {"a.png": b"/etc/passwd"}, link), tmp_path / "i", (".png",), Quiet())
    bomb = archive(tmp_path / "b.zip", {f"{n}.png": bytes(2_000_000) for n in range(3)})
    with pytest.raises(FetchError, match="bomb"):
        unpack_zip(bomb, tmp_path / "i", (".png",), Quiet())
    (tmp_path / "b.gz").write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(FetchError, match="bomb"):
        unpack_gzip(tmp_path / "b.gz", tmp_path / "b")
    assert not (tmp_path / "i").exists()
    assert not (tmp_path / "b").exists()
    assert not parts(tmp_path)


def test_a_zip_that_lies_about_a_size_or_is_cut_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = archive(tmp_path / "a.zip", {"a.png": rng.bytes(5000)})
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (100).to_bytes(4, "little")  # uncompressed size, in the directory
    path.write_bytes(data)
    with pytest.raises(FetchError, match="damaged"):
        unpack_zip(path, tmp_path / "i", (".png",), Quiet())
    path.write_bytes(data[:1000])
    with pytest.raises(FetchError, match="damaged"):
        unpack_zip(path, tmp_path / "i", (".png",), Quiet())
    (tmp_path / "a.gz").write_bytes(gzip.compress(rng.bytes(5000))[:2000])
    with pytest.raises(FetchError, match="damaged"):
        unpack_gzip(tmp_path / "a.gz", tmp_path / "a")
    assert not [path for path in (tmp_path / "i").rglob("*") if path.is_file()]


def test_unpacking_again_writes_only_what_is_missing(tmp_path):
    rng = np.random.default_rng(0)
    path = archive(tmp_path / "a.zip", {f"J0/{n}.png": rng.bytes(200) for n in range(10)} | {"readme.txt": b"no"})
    assert unpack_zip(path, tmp_path / "i", (".png",), Quiet(), limit=3) == 3
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "i").rglob("*.png")}
    assert sorted(file.stem for file in first) == ["0", "4", "9"]
    assert unpack_zip(path, tmp_path / "i", (".png",), Quiet(), limit=2) == 2
    assert len(list((tmp_path / "i").rglob("*.png"))) == 5
    assert unpack_zip(path, tmp_path / "i", (".png",), Quiet()) == 5
    assert all(file.stat().st_mtime_ns == when for file, when in first.items())
    assert not list((tmp_path / "i").rglob("*.txt"))


# --- collections


def fetched(name: str, out: Path, server: Server, limit: int | None = None) -> pd.DataFrame:
    recipe = load_recipe(fetch(name, out, Quiet(), limit=limit, mirror=server.url, patience=QUICK))
    table = pd.read_csv(out / "labels.csv", dtype={"object_id": str})
    entry = recipe.catalog[0]
    assert entry.table == out / "labels.csv"
    assert entry.images is not None
    assert all((entry.images / file).is_file() for file in table["file"])
    assert set(recipe.label_columns) <= set(table.columns)
    source = (out / "SOURCE.md").read_text()
    collection = COLLECTIONS[name]
    assert all(text in source for text in (collection.homepage, collection.licence, *collection.citation))
    assert not parts(out)
    return table


@pytest.mark.parametrize(("name", "size"), [("galaxy10_decals", 32), ("galaxy10_sdss", 16)])
def test_galaxy10(server, monkeypatch, tmp_path, name, size):
    content = hdf5("ans", 40, 10, size, beside=name == "galaxy10_decals")
    file = COLLECTIONS[name].files[0].name
    put(monkeypatch, server, name, {file: content})
    table = fetched(name, tmp_path, server)
    assert table["item"].tolist() == list(range(40))
    assert set(table["file"]) == {file}
    assert table["object_id"].is_unique
    with h5py.File(tmp_path / file) as opened:
        classes = list(dict.fromkeys(table["label"]))
        assert [classes[number] for number in opened["ans"][:]] == table["label"].tolist()
        if "ra" in opened:
            np.testing.assert_allclose(table["ra"], opened["ra"][:])
            assert "pixel_scale" in table
    assert plan(name, tmp_path).missing == {}
    few = fetched(name, tmp_path, server, limit=20)  # files are sorted by class: every class is among the few
    assert few["label"].nunique() == 10
    assert len(few) == 20
    assert len(server.requests) == 1


def test_galaxy_mnist_has_its_halves_and_its_archives_go(server, monkeypatch, tmp_path):
    contents = {
        "train_dataset.hdf5.gz": gzip.compress(hdf5("labels", 16, 4, 8)),
        "test_dataset.hdf5.gz": gzip.compress(hdf5("labels", 4, 4, 8)),
    }
    put(monkeypatch, server, "galaxy_mnist", contents)
    table = fetched("galaxy_mnist", tmp_path, server)
    assert table["split"].value_counts().to_dict() == {"train": 16, "test": 4}
    assert table.groupby("split")["item"].max().to_dict() == {"train": 15, "test": 3}
    assert not list(tmp_path.glob("*.gz"))
    assert sha256(contents["test_dataset.hdf5.gz"]) in (tmp_path / "SOURCE.md").read_text()
    fetched("galaxy_mnist", tmp_path, server)
    assert len(server.requests) == 2
    (tmp_path / "test_dataset.hdf5").unlink()
    assert list(plan("galaxy_mnist", tmp_path).missing) == ["test_dataset.hdf5.gz"]
    fetched("galaxy_mnist", tmp_path, server)
    assert len(server.requests) == 3


def gz_decals(voted: int = 6) -> dict[str, bytes]:
    collection = COLLECTIONS["gz_decals"]
    names = [f"J{n:06d}.00+000000.0" for n in range(8)]
    columns = [column for label in collection.labels.values() for column in label.columns]
    table = pd.DataFrame({"iauname": names[:voted], "ra": 1.5, "dec": -2.0, "redshift": np.nan})
    votes = np.random.default_rng(0).integers(0, 9, (voted, len(columns)))
    table = pd.concat([table, pd.DataFrame(votes, columns=columns)], axis=1)
    table["spiral-winding_tight"] = table["spiral-winding_medium"] = table["spiral-winding_loose"] = np.nan
    file = io.BytesIO()
    table.to_parquet(file)
    contents = {collection.files[0].name: file.getvalue()}
    rng = np.random.default_rng(1)
    for number, part in enumerate(collection.files[1:]):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as opened:
            for name in names[2 * number : 2 * number + 2]:
                opened.writestr(f"gz_decals_dr5_png_part{number + 1}/{name[:4]}/{name}.png", rng.bytes(300))
        contents[part.name] = data.getvalue()
    return contents


def test_gz_decals_joins_images_and_votes(server, monkeypatch, tmp_path):
    put(monkeypatch, server, "gz_decals", gz_decals())
    table = fetched("gz_decals", tmp_path, server)
    assert len(table) == 8
    assert table["smooth-or-featured_smooth"].notna().sum() == 6
    assert not list(tmp_path.glob("*.zip"))
    recipe = tomllib.loads((tmp_path / "recipe.toml").read_text())
    assert recipe["labels"]["bar"] == {"kind": "votes", "columns": ["bar_strong", "bar_weak", "bar_no"]}
    assert "spiral-winding" not in recipe["labels"]  # nobody was asked
    assert len(server.requests) == 5
    fetched("gz_decals", tmp_path, server)
    assert len(server.requests) == 5


def test_gz_decals_takes_no_more_archives_than_the_limit_needs(server, monkeypatch, tmp_path):
    put(monkeypatch, server, "gz_decals", gz_decals())
    assert len(fetched("gz_decals", tmp_path, server, limit=3)) == 3
    assert server.paths() == [
        "/gz_decals_volunteers_5.parquet",
        "/gz_decals_dr5_png_part1.zip",
        "/gz_decals_dr5_png_part2.zip",
    ]
    assert len(fetched("gz_decals", tmp_path, server, limit=4)) == 4
    assert len(server.requests) == 3
    assert len(fetched("gz_decals", tmp_path, server)) == 8


def test_hashes_that_zenodo_publishes_are_checked(server, monkeypatch, tmp_path):
    contents = gz_decals()
    collection = put(monkeypatch, server, "gz_decals", contents)
    listed = [{"key": name, "checksum": f"md5:{hashlib.md5(data).hexdigest()}"} for name, data in contents.items()]
    listed[3]["checksum"] = "md5:" + "0" * 32
    server.files["/api/4573248"] = json.dumps({"files": listed}).encode()
    moved = tuple(replace(file, url=f"{server.url}/{file.name}") for file in collection.files)
    changed = {"gz_decals": replace(collection, files=moved)}
    monkeypatch.setattr(fetching, "COLLECTIONS", changed)
    monkeypatch.setattr(fetching, "API", f"{server.url}/api")
    with pytest.raises(FetchError, match=r"part3\.zip: the hash is wrong"):
        fetch("gz_decals", tmp_path, Quiet(), patience=QUICK)
    assert not list(tmp_path.glob("*.sha256"))
    listed[3]["checksum"] = f"md5:{hashlib.md5(contents[listed[3]['key']]).hexdigest()}"
    (tmp_path / "zenodo_4573248.json").write_text(json.dumps({"files": listed}))
    fetch("gz_decals", tmp_path, Quiet(), patience=QUICK)
    assert (tmp_path / "SOURCE.md").read_text().count("(as published)") == 5


@pytest.mark.parametrize(
    "content",
    [
        b"<html>not found</html>",
        hdf5("labels", 4, 4, 8),
        hdf5("ans", 40, 11, 8),
    ],
    ids=["web page", "other layout", "unknown class"],
)
def test_a_file_of_another_layout_is_an_error_in_one_line(server, monkeypatch, tmp_path, content):
    put(monkeypatch, server, "galaxy10_sdss", {"Galaxy10.h5": content})
    with pytest.raises(FetchError, match=r"^Galaxy10\.h5: ") as caught:
        fetch("galaxy10_sdss", tmp_path, Quiet(), mirror=server.url, patience=QUICK)
    assert "\n" not in str(caught.value)


def test_an_edited_recipe_stays(server, monkeypatch, tmp_path):
    put(monkeypatch, server, "galaxy10_sdss", {"Galaxy10.h5": hdf5("ans", 20, 10, 8)})
    path = fetch("galaxy10_sdss", tmp_path, Quiet(), mirror=server.url)
    edited = path.read_text() + "\n# mine\n"
    path.write_text(edited)
    fetch("galaxy10_sdss", tmp_path, Quiet(), mirror=server.url)
    assert path.read_text() == edited


def test_every_collection_is_described_whole():
    for name, collection in COLLECTIONS.items():
        assert collection.name == name
        assert all(file.url.startswith("https://") and file.url.endswith(file.name) for file in collection.files)
        assert collection.zenodo is not None or all(file.hash for file in collection.files)
        assert collection.encoder <= collection.store


# --- cutouts


def cutout(size: int = 32, bands: int = 3) -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    hdu = fits.PrimaryHDU(rng.normal(0, 1, (bands, size, size)).astype(np.float32))
    hdu.header["BANDS"] = "grz"[:bands]
    hdu.writeto(file)
    return file.getvalue()


@pytest.fixture
def positions(tmp_path) -> Positions:
    table = tmp_path / "positions.csv"
    table.write_text("ObjID,RA,Dec,t_type\n007,10.5,-1.25,3\n../8,11.5,-1.25,4\nc,12.5,91,5\nd,13.5,2,6\n")
    return Positions(table, CutoutRequest(size=32))


def test_cutouts_are_asked_for_one_by_one_with_a_pause(server, tmp_path, positions):
    server.files["/fits-cutout"] = cutout()
    out = tmp_path / "out"
    recipe = load_recipe(fetch("legacy_cutouts", out, Quiet(), mirror=server.url, positions=positions, patience=QUICK))
    assert recipe.bands == ("g", "r", "z")
    table = pd.read_csv(out / "labels.csv", dtype=str)
    assert table["object_id"].tolist() == ["007", "../8", "d"]
    assert table["t_type"].tolist() == ["3", "4", "6"]
    assert all((out / "images" / file).read_bytes() == cutout() for file in table["file"])
    assert server.paths()[0] == (
        "/fits-cutout?ra=10.500000&dec=-1.250000&layer=ls-dr10&pixscale=0.262&size=32&bands=grz"
    )
    times = [when for _, _, when in server.requests]
    assert min(np.diff(times)) >= QUICK.pause
    assert server.most_open == 1
    assert read_quarantine(out / "quarantine.csv")["reason"].tolist() == ["position"]
    assert plan("legacy_cutouts", out, positions).missing.keys() == {"1 cutouts"}
    fetch("legacy_cutouts", out, Quiet(), mirror=server.url, positions=positions, patience=QUICK)
    assert len(server.requests) == 3


def test_what_is_no_cutout_goes_to_the_quarantine_and_the_next_follows(server, tmp_path):
    page = b"<!DOCTYPE html><html>Internal error</html>"
    zeros = io.BytesIO()
    fits.PrimaryHDU(np.zeros((3, 32, 32), np.float32)).writeto(zeros)
    bodies = [page, cutout()[:4000], cutout(size=24), cutout(bands=1), zeros.getvalue(), b""]
    server.faults = [
        *((lambda request, body=body: (200, {"Content-Length": str(len(body))}, body)) for body in bodies),
        status(404),
        *[status(500)] * QUICK.attempts,
    ]
    server.files["/fits-cutout"] = cutout()
    table = tmp_path / "positions.csv"
    table.write_text("ra,dec\n" + "".join(f"{n},0\n" for n in range(9)))
    out = tmp_path / "out"
    request = Positions(table, CutoutRequest(size=32))
    fetch("legacy_cutouts", out, Quiet(), mirror=server.url, positions=request, patience=QUICK)
    refused = read_quarantine(out / "quarantine.csv")
    assert refused["reason"].tolist() == [
        *("format", "truncated", "size", "bands", "constant", "empty", "not_delivered", "not_delivered"),
    ]
    assert "web page" in refused["detail"][0]
    assert "404" in refused["detail"][6]
    assert len(pd.read_csv(out / "labels.csv")) == 1
    assert not parts(out)
    fetch("legacy_cutouts", out, Quiet(), mirror=server.url, positions=request, patience=QUICK)  # the failed ones again
    assert len(pd.read_csv(out / "labels.csv")) == 9
    assert read_quarantine(out / "quarantine.csv").empty


def test_a_band_that_does_not_cover_the_position_is_kept(server, tmp_path, positions):
    pixels = np.random.default_rng(0).normal(0, 1, (3, 32, 32)).astype(np.float32)
    pixels[1] = 0
    file = io.BytesIO()
    fits.PrimaryHDU(pixels).writeto(file)
    server.files["/fits-cutout"] = file.getvalue()
    fetch("legacy_cutouts", tmp_path / "out", Quiet(), mirror=server.url, positions=positions, limit=2, patience=QUICK)
    assert len(pd.read_csv(tmp_path / "out" / "labels.csv")) == 2


def test_a_server_that_wants_fewer_requests_gets_no_more(server, tmp_path, positions):
    server.faults = [status(429, Retry_After="600")]
    with pytest.raises(BusyError, match="429"):
        fetch("legacy_cutouts", tmp_path / "o", Quiet(), mirror=server.url, positions=positions, patience=QUICK)
    assert len(server.requests) == 1


def test_without_any_cutout_there_is_no_recipe(server, tmp_path, positions):
    with pytest.raises(FetchError, match="none of the 4 cutouts"):
        fetch("legacy_cutouts", tmp_path / "o", Quiet(), mirror=server.url, positions=positions, patience=QUICK)
    assert not (tmp_path / "o" / "recipe.toml").exists()
    assert len(read_quarantine(tmp_path / "o" / "quarantine.csv")) == 4


def test_without_connection_the_cutouts_stop_at_once(tmp_path, positions):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NoConnectionError, match="run the same command again"):
            fetch("legacy_cutouts", tmp_path / "o", Quiet(), mirror=url, positions=positions, patience=QUICK)


@given(st.floats(0, 360), st.floats(-90, 90), st.text(min_size=1))
def test_a_cutout_s_file_lies_in_its_folder_whatever_the_id(ra, dec, object_id):
    from catalogs.fetch.legacy_cutouts import _target

    target = _target(Path("images"), CutoutRequest(), ra, dec)
    assert target.parent == Path("images/ls-dr10_grz_160px_0.262arcsec")
    assert target.suffix == ".fits"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"size": 5}, {"size": 4000}, {"pixscale": 0.0}, {"pixscale": float("nan")}),
        *({"bands": "gg"}, {"bands": "g,r"}, {"layer": "a b&c"}, {"layer": ""}),
    ],
)
def test_requests_out_of_range_are_wrong_use(tmp_path, wrong):
    with pytest.raises(FetchUseError):
        positions_from("legacy_cutouts", tmp_path / "p.csv", **wrong)


@pytest.mark.parametrize(("text", "said"), [("id,ra\n1,2\n", "no column dec"), ("id,ra,dec\n1,2,3\n1,3,4\n", "'1'")])
def test_tables_of_positions_that_cannot_be_used(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_positions(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("galaxy_10_decals", {}, "did you mean 'galaxy10_decals'"),
        ("legacy_cutouts", {}, "--positions"),
        ("galaxy10_sdss", {"mirror": "ftp://x"}, "no address"),
        ("galaxy10_sdss", {"mirror": "nothing"}, "no address"),
    ],
)
def test_wrong_use(tmp_path, name, options, said):
    with pytest.raises(FetchUseError, match=said):
        fetch(name, tmp_path, Quiet(), **options)
