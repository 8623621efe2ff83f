"""npy and npz stacks: axes, bands by name, what is refused; NumPy's own reading is the oracle."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.galaxies.arrays import columns_arrays, items_arrays, read_arrays
from catalogs.galaxies.stacks import axes_of, band_order, numbered
from catalogs.reading import Cutout, Refusal, Request

GRZ = ("g", "r", "z")


def stack(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=shape) * 40 + 100).astype(dtype)


def table(path: Path, *items: str | None) -> pd.DataFrame:
    return pd.DataFrame({"object_id": list(map(str, items)), "paths": [(str(path),)] * len(items), "item": list(items)})


def read(path: Path, *items: str | None, bands: tuple[str, ...] = GRZ) -> list[Cutout | Refusal]:
    return list(read_arrays(table(path, *items), Request(bands)))


def cutout(path: Path, item: str | None = None, bands: tuple[str, ...] = GRZ) -> Cutout:
    (outcome,) = read(path, item, bands=bands)
    assert isinstance(outcome, Cutout), outcome
    assert outcome.pixels.dtype == np.float32
    assert outcome.bands == bands
    return outcome


def reason(path: Path, item: str | None = None, bands: tuple[str, ...] = GRZ) -> str:
    (outcome,) = read(path, item, bands=bands)
    assert isinstance(outcome, Refusal), "read although it should be refused"
    assert str(path) not in outcome.detail
    assert path.name not in outcome.detail
    return outcome.reason


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "i2", "u2"])
def test_a_stack_is_read_as_numpy_reads_it(tmp_path: Path, dtype: str, fortran: bool, compressed: bool) -> None:
    array = stack(7, 3, 10, 12).astype(dtype)
    array = np.asfortranarray(array) if fortran else array
    plain = npy(tmp_path / "a.npy", array)
    packed = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(packed, images=array, labels=np.arange(7))
    for path in (plain, packed):
        assert items_arrays(path) == list("0123456")
        outcomes = read(path, "6", "0", "3")
        for item, outcome in zip((6, 0, 3), outcomes, strict=True):
            assert isinstance(outcome, Cutout), outcome
            assert outcome.radiometry == "linear"
            np.testing.assert_array_equal(outcome.pixels, array[item].astype(np.float32))


def test_axes_follow_the_number_of_bands(tmp_path: Path) -> None:
    array = stack(4, 3, 9, 11)
    np.testing.assert_array_equal(cutout(npy(tmp_path / "last.npy", array.transpose(0, 2, 3, 1)), "2").pixels, array[2])
    np.testing.assert_array_equal(cutout(npy(tmp_path / "one.npy", array[1])).pixels, array[1])
    np.testing.assert_array_equal(cutout(npy(tmp_path / "one_last.npy", array[1].transpose(1, 2, 0))).pixels, array[1])
    grey = npy(tmp_path / "grey.npy", array[0])
    np.testing.assert_array_equal(cutout(grey, "1", bands=("r",)).pixels, array[0, 1:2])
    np.testing.assert_array_equal(cutout(npy(tmp_path / "flat.npy", array[0, 0]), bands=("r",)).pixels, array[0, :1])
    # Both the first and the last axis are as long as the bands: the first is taken.
    both = stack(2, 8, 9, 8)
    np.testing.assert_array_equal(
        cutout(npy(tmp_path / "both.npy", both), "1", bands=tuple("abcdefgh")).pixels, both[1]
    )
    assert reason(grey, "3", bands=("r",)) == "item"
    assert reason(npy(tmp_path / "four.npy", stack(2, 4, 9, 9)), "0") == "bands"
    assert reason(npy(tmp_path / "five.npy", stack(1, 2, 3, 9, 9)), "0") == "shape"
    assert reason(npy(tmp_path / "line.npy", stack(30))) == "shape"


@given(
    shape=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    bands=st.integers(1, 6),
)
@settings(max_examples=100, deadline=None)
def test_items_agree_with_what_is_read(shape: list[int], bands: int) -> None:
    axes = axes_of(shape, np.dtype("f4"), bands)
    if isinstance(axes, Refusal):
        return
    assert numbered(shape, 0, bands) == [str(n) for n in range(axes.objects)]


def test_items_of_three_axes(tmp_path: Path) -> None:
    cube = npy(tmp_path / "cube.npy", stack(5, 40, 40))
    assert items_arrays(cube) == ["0"]
    assert items_arrays(cube, tuple("ugriz")) == ["0"]
    assert items_arrays(cube, ("r",)) == list("01234")
    many = npy(tmp_path / "many.npy", stack(30, 40, 40))
    assert len(items_arrays(many)) == 30
    assert items_arrays(npy(tmp_path / "rgb.npy", stack(40, 40, 3))) == ["0"]


def test_bytes_are_display_values(tmp_path: Path) -> None:
    array = stack(2, 10, 10, 3).astype(np.uint8)
    array[0, 0, 0] = (0, 255, 51)
    array[0, :, :, 2] = 0  # a picture may lack a colour
    outcome = cutout(npy(tmp_path / "a.npy", array), "0")
    assert outcome.radiometry == "display"
    np.testing.assert_allclose(outcome.pixels[:, 0, 0], [0, 1, 0])
    np.testing.assert_allclose(outcome.pixels, array[0].transpose(2, 0, 1) / 255, atol=1e-7)


def test_nan_stays_and_infinity_becomes_nan(tmp_path: Path) -> None:
    array = stack(2, 3, 10, 10, dtype=np.float64)
    array[1, 0, 0, :3] = (np.nan, np.inf, -np.inf)
    array[1, 0, 1, 0] = 1e300  # beyond float32
    got = cutout(npy(tmp_path / "a.npy", array), "1").pixels
    assert np.isnan(got).sum() == 4
    assert np.isnan(got[0, 0, :3]).all()


@given(order=st.permutations("ugriz"))
@settings(max_examples=20, deadline=None)
def test_the_order_of_named_bands_does_not_matter(order: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    array = {band: stack(10, 10) + ord(band) for band in "ugriz"}
    path = tmp_path_factory.mktemp("order") / "a.npz"
    np.savez(path, images=np.stack([array[band] for band in order]), filters=np.array([f"SDSS-{b}" for b in order]))
    got = cutout(path, bands=("g", "z", "u"))
    np.testing.assert_array_equal(got.pixels, np.stack([array[band] for band in "gzu"]))


def test_band_names() -> None:
    assert band_order(["Y", "y"], Request(("y", "Y"))) == [1, 0]
    assert band_order(["des-g", "des-z", "des-r"], Request(GRZ)) == [0, 2, 1]
    assert band_order(["HSC-G", "HSC-R"], Request(("r",))) == [1]
    assert isinstance(band_order(["hsc-y", "nisp-y"], Request(("y",))), Refusal)
    assert band_order(["hsc-y", "nisp-y"], Request(("nisp-y",))) == [1]
    assert isinstance(band_order(["u", "v"], Request(GRZ)), Refusal)


def test_a_band_that_the_file_does_not_name_is_masked_where_it_may_be_missing(tmp_path: Path) -> None:
    array, ivar = stack(2, 3, 10, 12), np.full((2, 3, 10, 12), 4, np.float32)
    np.savez(tmp_path / "a.npz", images=array, ivar=ivar, bands=np.array(["des-z", "des-g", "des-i"]))
    request = Request(GRZ, missing="mask")
    (outcome,) = read_arrays(table(tmp_path / "a.npz", "1"), request)
    assert isinstance(outcome, Cutout)
    np.testing.assert_array_equal(outcome.pixels[[0, 2]], array[1, [1, 0]])
    assert outcome.variance is not None
    assert np.isnan(outcome.pixels[1]).all()
    assert np.isnan(outcome.variance[1]).all()
    assert (outcome.variance[[0, 2]] == 0.25).all()
    assert reason(tmp_path / "a.npz", "1") == "bands"
    assert band_order(["hsc-g", "nisp-y"], Request(("y", "g"), missing="mask")) == [1, 0]
    assert band_order(["g", "u"], Request(("G", "r"), missing="mask")) == [0, None]
    assert band_order(["HSC-G", "r", "Y"], request) == [0, 1, None]
    assert band_order(["y", "Y"], Request(("y", "Y", "r"), missing="mask")) == [0, 1, None]
    assert band_order(["y", "z"], Request(("Y", "y"), missing="mask")) == [None, 0]  # no band stands for two
    assert isinstance(band_order(["y", "z"], Request(("Y", "y"))), Refusal)
    assert isinstance(band_order(["u", "v"], request), Refusal)
    assert isinstance(band_order(["hsc-g", "nisp-g", "r"], Request(("g",), missing="mask")), Refusal)


def test_variance_and_inverse_variance(tmp_path: Path) -> None:
    images = stack(2, 3, 10, 10)
    ivar = np.full_like(images, 4)
    ivar[1, 2, 3, 4] = 0
    ivar[1, 0, 0, 0] = np.finfo(np.float32).max  # numpy's nan_to_num(1 / 0)
    np.savez(tmp_path / "a.npz", images=images, weights=ivar)
    got = cutout(tmp_path / "a.npz", "1")
    assert got.variance is not None
    wanted = np.full((3, 10, 10), 0.25)
    wanted[2, 3, 4] = wanted[0, 0, 0] = np.nan
    np.testing.assert_allclose(got.variance, wanted)
    assert np.isnan(got.pixels[2, 3, 4])
    assert np.isfinite(got.pixels).sum() == 299
    np.savez(tmp_path / "b.npz", images=images, variance=1 / ivar.clip(1), mask=np.zeros((2, 3, 10, 10), np.int32))
    both = cutout(tmp_path / "b.npz", "1")
    np.testing.assert_allclose(both.variance[1], 0.25)
    assert both.flags == ("mask not applied",)
    np.testing.assert_array_equal(both.pixels, images[1])


def test_which_array_is_the_image(tmp_path: Path) -> None:
    array = stack(2, 3, 10, 10)
    np.savez(tmp_path / "only.npz", arr_0=array, labels=np.arange(2), table=stack(2, 40))
    np.testing.assert_array_equal(cutout(tmp_path / "only.npz", "1").pixels, array[1])
    np.savez(tmp_path / "two.npz", first=array, second=array)
    assert reason(tmp_path / "two.npz", "0") == "no_image"
    np.savez(tmp_path / "named.npz", first=array * 0, images=array, psfs=array)
    np.testing.assert_array_equal(cutout(tmp_path / "named.npz", "1").pixels, array[1])
    np.savez(tmp_path / "flat.npz", image=array[0, 0])
    np.testing.assert_array_equal(cutout(tmp_path / "flat.npz", bands=("r",)).pixels, array[0, :1])
    np.savez(tmp_path / "none.npz", labels=np.arange(2))
    assert reason(tmp_path / "none.npz") == "no_image"
    assert isinstance(items_arrays(tmp_path / "none.npz"), Refusal)
    np.savez(tmp_path / "values.npz", images=array, redshift=np.array([0.1, 0.2]), other=np.arange(3))
    columns = columns_arrays(tmp_path / "values.npz")
    assert not isinstance(columns, Refusal)
    assert list(columns) == ["redshift"]


def test_items_that_are_not_there(tmp_path: Path) -> None:
    path = npy(tmp_path / "a.npy", stack(3, 3, 10, 10))
    for item in (None, "3", "-1", "1.0", "one", "9" * 30, "²"):
        assert reason(path, item) == "item"
    assert reason(npy(tmp_path / "empty.npy", stack(0, 3, 10, 10)), "0") == "no_image"
    outcomes = read(path, "0", "7", "2")
    assert [type(outcome) for outcome in outcomes] == [Cutout, Refusal, Cutout]


def header_only(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_damage_is_refused(tmp_path: Path) -> None:
    path = npy(tmp_path / "qq.npy", stack(3, 3, 10, 10))
    whole = path.read_bytes()
    packed = tmp_path / "qq.npz"
    np.savez_compressed(packed, images=stack(3, 3, 10, 10))
    zipped = packed.read_bytes()
    for name, content, wanted in (
        ("zz1.npy", b"", "empty"),
        ("zz2.npy", whole[:-100], "truncated"),
        ("zz3.npy", whole[:40], "truncated"),
        ("zz4.npy", b"<html>", "format"),
        ("zz5.npy", pickle.dumps([1, 2]), "format"),
        ("zz6.npy", whole[:6] + b"\x09" + whole[7:], "undecodable"),
        ("zz7.npy", header_only((2, 3, 10**6, 10**6)), "truncated"),
        ("zz8.npy", header_only((-2, 3, 10, 10)), "undecodable"),
        ("zz9.npz", zipped[:-30], "truncated"),
        ("zza.npz", zipped[:200] + bytes(40) + zipped[240:], "undecodable"),
        ("zzb.npz", zipped[: len(zipped) // 2], "truncated"),
    ):
        bad = tmp_path / name
        bad.write_bytes(content)
        assert reason(bad, "1") == wanted, name
        assert isinstance(items_arrays(bad), Refusal) or wanted == "undecodable", name
    assert reason(tmp_path / "absent.npy") == "missing"
    (outcome,) = read_arrays(pd.DataFrame({"object_id": ["a"], "paths": [(str(path), str(path))]}), Request(GRZ))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "bands"


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "sprung",))

    objects = np.array([Trap(), Trap()], object)
    np.save(tmp_path / "zz.npy", objects, allow_pickle=True)
    assert reason(tmp_path / "zz.npy", "0") == "format"
    np.savez(tmp_path / "zz.npz", images=objects.reshape(1, 1, 2))
    assert reason(tmp_path / "zz.npz", "0") == "format"
    assert not (tmp_path / "sprung").exists()


def test_other_types_are_refused(tmp_path: Path) -> None:
    for number, dtype in enumerate(("c8", "?", "U4", "M8[s]", "i4,f4")):
        assert reason(npy(tmp_path / f"zz{number}.npy", np.zeros((2, 3, 9, 9), dtype)), "0") == "format", dtype
        np.savez(tmp_path / f"zz{number}.npz", images=np.zeros((2, 3, 9, 9), dtype))
        assert reason(tmp_path / f"zz{number}.npz", "0") == "format", dtype


def test_a_bomb_is_refused_before_it_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as file,
    ):
        file.write(header_only((36, 3, 1000, 1000), "|u1"))
        for _ in range(108):
            file.write(bytes(10**6))
    assert reason(path, "0") == "too_large"
    huge = tmp_path / "one.npz"  # a header that promises more than the archive declares
    with zipfile.ZipFile(huge, "w") as archive:
        archive.writestr("images.npy", header_only((3, 10**5, 10**5)))
    assert reason(huge) == "too_large"


def test_the_collections_of_real_stacks(shared_data: Path) -> None:
    folder = shared_data / "galaxies" / "multiband"
    blend = folder / "hsc_scarlet" / "hsc_cosmos_35.npz"
    assert items_arrays(blend) == ["0"]
    with np.load(blend) as oracle:
        got = cutout(blend, bands=("y", "g"))
        np.testing.assert_array_equal(got.pixels, oracle["images"][[4, 0]])
        np.testing.assert_array_equal(got.variance, oracle["variance"][[4, 0]])
    assert got.flags == ("mask not applied",)
    with np.load(folder / "hsc_scarlet" / "hsc_cosmos.npz") as oracle:
        got = cutout(folder / "hsc_scarlet" / "hsc_cosmos.npz", "0", bands=tuple("grizy"))
        np.testing.assert_array_equal(got.pixels, oracle["images"])
    stamps = folder / "sdss_ugriz" / "sdss_test_images.npy"
    oracle = np.load(stamps)
    items = items_arrays(stamps)
    assert len(items) == len(oracle) == 20
    for item, outcome in zip(items, read(stamps, *items, bands=tuple("ugriz")), strict=True):
        assert isinstance(outcome, Cutout)
        np.testing.assert_array_equal(outcome.pixels, oracle[int(item)])
    assert reason(folder / "sdss_ugriz" / "sdss_test_labels.npy", bands=("r",)) == "shape"
