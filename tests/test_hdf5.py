"""HDF5 stacks in the layouts of Galaxy10 and the Multimodal Universe; h5py's own reading is the oracle.

No real file of either is at hand: the tests write files of their layout.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.galaxies.hdf5 import columns_hdf5, items_hdf5, read_hdf5
from catalogs.reading import Cutout, Refusal, Request

RGB = ("red", "green", "blue")
GRIZ = ("g", "r", "i", "z")


def table(path: Path, *items: str | None) -> pd.DataFrame:
    return pd.DataFrame({"object_id": list(map(str, items)), "paths": [(str(path),)] * len(items), "item": list(items)})


def cutout(path: Path, item: str | None, bands: tuple[str, ...]) -> Cutout:
    (outcome,) = read_hdf5(table(path, item), Request(bands))
    assert isinstance(outcome, Cutout), outcome
    assert outcome.bands == bands
    return outcome


def reason(path: Path, item: str | None = "0", bands: tuple[str, ...] = RGB) -> str:
    (outcome,) = read_hdf5(table(path, item), Request(bands))
    assert isinstance(outcome, Refusal), "read although it should be refused"
    assert path.name not in outcome.detail
    return outcome.reason


def write(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            packed = isinstance(values, np.ndarray) and values.ndim > 1 and values.dtype.kind != "O"
            file.create_dataset(name, data=values, **({"compression": "gzip", "chunks": True} if packed else {}))
    return path


def galaxy10(path: Path, count: int = 9) -> Path:
    rng = np.random.default_rng(0)
    return write(
        path,
        images=rng.integers(0, 256, (count, 16, 18, 3), np.uint8),
        ans=np.arange(count, dtype=np.uint8),
        ra=rng.uniform(0, 360, count),
        dec=rng.uniform(-90, 90, count),
        redshift=np.where(np.arange(count) % 2, 0.1, np.nan),
        pxscale=np.full(count, 0.262),
    )


def universe(path: Path, flat_mask: bool = True, **others: Any) -> Path:
    """As scripts/legacysurvey (a mask for all bands) and scripts/hsc (a mask a band) write it."""
    rng = np.random.default_rng(1)
    mask = np.ones((5, 12, 12) if flat_mask else (5, 4, 12, 12), bool)
    mask[2, ..., 0, :] = False
    ivar = rng.uniform(1, 9, (5, 4, 12, 12)).astype(np.float32)
    ivar[2, 1, 5, 5] = 0
    values = {
        "image_array": rng.normal(size=(5, 4, 12, 12)).astype(np.float32),
        "image_band": np.array([[b"des-g", b"des-r", b"des-i", b"des-z"]] * 5, "S5"),
        "image_ivar": ivar,
        "image_mask": mask,
        "image_psf_fwhm": np.tile([1.31, 0.0, 1.048, 0.917], (5, 1)),
        "image_scale": np.full((5, 4), 0.262, np.float32),
        "image_rgb": rng.integers(0, 256, (5, 12, 12, 3), np.uint8),
        "object_mask": np.zeros((5, 12, 12), np.uint8),
        "object_id": np.array([f"0421p022-{n}".encode() for n in range(5)]),
        "ra": np.arange(5.0),
        "dec": -np.arange(5.0),
        "EBV": np.linspace(0, 0.4, 5),
        "TYPE": [b"SER", b"DEV", b"EXP", b"REX", b"SER"],
    }
    return write(path, **(values | others))


def test_galaxy10(tmp_path: Path) -> None:
    path = galaxy10(tmp_path / "Galaxy10_DECals.h5")
    assert items_hdf5(path) == list("012345678")
    with h5py.File(path) as oracle:
        for item, outcome in enumerate(read_hdf5(table(path, *map(str, range(9))), Request(RGB))):
            assert isinstance(outcome, Cutout), outcome
            assert outcome.radiometry == "display"
            assert outcome.pixel_scale == pytest.approx(0.262)
            np.testing.assert_allclose(outcome.pixels, oracle["images"][item].transpose(2, 0, 1) / 255, atol=1e-7)
        columns = columns_hdf5(path)
        assert not isinstance(columns, Refusal)
        assert set(columns) == {"ans", "ra", "dec", "redshift", "pxscale"}
        for name, values in columns.items():
            np.testing.assert_array_equal(values, oracle[name][:])


@pytest.mark.parametrize("flat_mask", [True, False])
def test_the_multimodal_universe(tmp_path: Path, flat_mask: bool) -> None:
    path = universe(tmp_path / "001-of-001.hdf5", flat_mask)
    with h5py.File(path) as oracle:
        flux, ivar = oracle["image_array"][2][[3, 1, 0]], oracle["image_ivar"][2][[3, 1, 0]]
    bad = np.zeros((3, 12, 12), bool)
    bad[:, 0, :] = True  # masked
    bad[1, 5, 5] = True  # no measurement
    got = cutout(path, "2", ("z", "r", "g"))
    assert got.radiometry == "linear"
    np.testing.assert_array_equal(np.isnan(got.pixels), bad)
    np.testing.assert_array_equal(got.pixels[~bad], flux[~bad])
    assert got.variance is not None
    measured = ivar > 0
    np.testing.assert_allclose(got.variance[measured], 1 / ivar[measured], rtol=1e-6)
    assert np.isnan(got.variance[~measured]).all()
    assert got.pixel_scale == pytest.approx(0.262)
    np.testing.assert_allclose(got.nuisance["psf_fwhm_px"], [3.5, np.nan, 5.0], rtol=1e-5)
    np.testing.assert_allclose(got.nuisance["ebv"], [0.2] * 3)
    columns = columns_hdf5(path)
    assert not isinstance(columns, Refusal)
    assert set(columns) == {"object_id", "ra", "dec", "EBV", "TYPE"}
    assert columns["object_id"][3] == "0421p022-3"
    assert columns["TYPE"][1] == "DEV"


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_band_order_does_not_matter(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    flux = np.random.default_rng(2).normal(size=(2, 4, 9, 9)).astype(np.float32)
    names = np.array([b"hsc-g", b"hsc-r", b"hsc-i", b"hsc-z"])
    path = tmp_path_factory.mktemp("order") / "a.h5"
    # The second object has an order of its own.
    arrays = np.stack([flux[0], flux[1][order]])
    write(path, image_array=arrays, image_band=np.stack([names, names[order]]))
    np.testing.assert_array_equal(cutout(path, "0", GRIZ).pixels, flux[0])
    np.testing.assert_array_equal(cutout(path, "1", GRIZ).pixels, flux[1])


def test_generic_files(tmp_path: Path) -> None:
    flux = np.random.default_rng(3).normal(size=(4, 3, 10, 11)).astype(">f8")
    flux[1, 0, 0, :2] = np.nan, np.inf
    path = write(tmp_path / "a.h5", cube=flux, labels=np.arange(4))
    got = cutout(path, "1", RGB).pixels
    np.testing.assert_array_equal(np.isnan(got), ~np.isfinite(flux[1]))
    np.testing.assert_array_equal(got[1:], flux[1, 1:].astype(np.float32))
    last = write(tmp_path / "last.h5", X=flux.transpose(0, 2, 3, 1), x=np.arange(4))
    np.testing.assert_array_equal(cutout(last, "0", RGB).pixels, flux[0].astype(np.float32))
    grey = write(tmp_path / "grey.h5", data=flux[:, 1])
    assert items_hdf5(grey, ("r",)) == list("0123")
    np.testing.assert_array_equal(cutout(grey, "3", ("r",)).pixels, flux[3, 1:2].astype(np.float32))
    with h5py.File(tmp_path / "single.h5", "w") as file:
        file["image"] = flux[0]
        file["image"].attrs["bands"] = ["r", "g", "b"]
    assert items_hdf5(tmp_path / "single.h5") == ["0"]
    got = cutout(tmp_path / "single.h5", None, ("b", "r")).pixels
    np.testing.assert_array_equal(got, flux[0, [2, 0]].astype(np.float32))
    assert reason(write(tmp_path / "two.h5", first=flux, second=flux)) == "no_image"
    assert reason(write(tmp_path / "none.h5", labels=np.arange(4))) == "no_image"
    assert reason(write(tmp_path / "few.h5", images=flux), "0", ("g",)) == "bands"
    assert reason(path, "4") == "item"
    assert reason(path, None) == "item"


def test_bands_that_are_not_there(tmp_path: Path) -> None:
    path = universe(tmp_path / "a.h5")
    assert reason(path, "0", ("g", "r", "y")) == "bands"
    empty = universe(tmp_path / "b.h5", image_ivar=np.zeros((5, 4, 12, 12), np.float32))
    assert reason(empty, "0", GRIZ) == "no_valid_pixels"
    odd = universe(tmp_path / "c.h5", image_mask=np.ones((5, 6, 6), bool))
    assert reason(odd, "0", GRIZ) == "shape"
    planes = universe(tmp_path / "d.h5", image_mask=np.full((5, 12, 12), 32))
    assert cutout(planes, "0", GRIZ).flags == ("mask not applied",)


def test_damage_is_refused(tmp_path: Path) -> None:
    whole = galaxy10(tmp_path / "a.h5").read_bytes()
    for name, content, wanted in (
        ("empty.h5", b"", "empty"),
        ("page.h5", b"<html>no such file</html>", "format"),
        ("cut.h5", whole[:-500], "truncated"),
        ("short.h5", whole[:100], "undecodable"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert reason(path) in (wanted, "truncated"), name
        assert isinstance(items_hdf5(path), Refusal), name
        assert isinstance(columns_hdf5(path), Refusal), name
    assert reason(tmp_path / "absent.h5") == "missing"
    assert reason(write(tmp_path / "text.h5", images=np.full((2, 9, 9, 3), b"a"))) == "format"
    assert reason(write(tmp_path / "complex.h5", images=np.zeros((2, 9, 9, 3), np.complex64))) == "format"


@given(position=st.integers(0, 10**9), byte=st.integers(0, 255))
@settings(max_examples=20, deadline=None)
def test_any_damaged_byte_is_read_or_refused(
    position: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    content = bytearray(galaxy10(folder / "a.h5", 2).read_bytes())
    content[position % len(content)] = byte
    (folder / "b.h5").write_bytes(content)
    outcomes = list(read_hdf5(table(folder / "b.h5", "0", "1"), Request(RGB)))
    assert len(outcomes) == 2
    items_hdf5(folder / "b.h5")
    columns_hdf5(folder / "b.h5")


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    secret = galaxy10(tmp_path / "secret.h5")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(secret), "/images")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
        file["images"] = h5py.SoftLink("/elsewhere/images")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((9, 16, 18, 3), np.uint8)
        layout[:] = h5py.VirtualSource(secret, "images", (9, 16, 18, 3))
        file.create_virtual_dataset("images", layout)
    (tmp_path / "raw").write_bytes(bytes(range(200)) * 100)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("images", (4, 16, 16, 3), np.uint8, external=[(str(tmp_path / "raw"), 0, 4 * 768)])
    for name in ("external", "soft", "virtual", "raw"):
        assert reason(tmp_path / f"{name}.h5") == "link", name
        assert isinstance(items_hdf5(tmp_path / f"{name}.h5"), Refusal), name


def test_declared_sizes_are_asked_first(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("images", (2, 3, 10**6, 10**6), np.float32, chunks=(1, 1, 100, 100))
    assert reason(tmp_path / "huge.h5") == "too_large"
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("images", (10**6, 3, 100, 100), np.uint8, chunks=(10**5, 3, 100, 100), compression="gzip")
    assert reason(tmp_path / "chunk.h5") == "too_large"
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file.create_dataset("images", (10**12, 3, 10, 10), np.uint8, chunks=(1, 3, 10, 10))
    many = items_hdf5(tmp_path / "many.h5")
    assert isinstance(many, Refusal)
    assert many.reason == "too_large"


def test_a_file_is_opened_once_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = galaxy10(tmp_path / "a.h5"), galaxy10(tmp_path / "b.h5")
    opened = []
    original = h5py.File

    def count(*args: Any, **kwargs: Any) -> Any:
        opened.append(original(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(h5py, "File", count)
    rows = pd.concat([table(first, "0", "5", "1"), table(second, "2", "3")])
    outcomes = list(read_hdf5(rows, Request(RGB)))
    assert all(isinstance(outcome, Cutout) for outcome in outcomes)
    assert len(opened) == 2
    assert not any(opened)  # a closed file is false
    stopped = read_hdf5(rows, Request(RGB))
    next(stopped)
    assert opened[-1]
    stopped.close()  # type: ignore[attr-defined]
    assert not opened[-1]
