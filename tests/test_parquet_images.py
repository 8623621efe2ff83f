"""Parquet rows that hold images: the Multimodal Universe's structs, flat lists with a shape, encoded pictures.

pyarrow's own reading and Pillow are the oracles; the tests write files of these layouts.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from catalogs.galaxies.parquet_images import columns_parquet_images, items_parquet_images, read_parquet_images
from catalogs.reading import Cutout, Refusal, Request

GRZ = ("g", "r", "z")
COUNT, SIDE = 7, 10


def table(path: Path, *items: str | None) -> pd.DataFrame:
    return pd.DataFrame({"object_id": list(map(str, items)), "paths": [(str(path),)] * len(items), "item": list(items)})


def read(path: Path, *items: str | None, bands: tuple[str, ...] = GRZ) -> list[Cutout | Refusal]:
    return list(read_parquet_images(table(path, *items), Request(bands)))


def cutout(path: Path, item: str | None, bands: tuple[str, ...] = GRZ) -> Cutout:
    (outcome,) = read(path, item, bands=bands)
    assert isinstance(outcome, Cutout), outcome
    assert outcome.bands == bands
    return outcome


def reason(path: Path, item: str | None = "0", bands: tuple[str, ...] = GRZ) -> str:
    (outcome,) = read(path, item, bands=bands)
    assert isinstance(outcome, Refusal), "read although it should be refused"
    assert path.name not in outcome.detail
    return outcome.reason


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (COUNT, 3, SIDE, SIDE)
    mask = np.ones(shape, bool)
    mask[3, :, 0, :2] = False
    ivar = rng.uniform(1, 9, shape).astype(np.float32)
    ivar[3, 2, 5, 5] = 0
    return {"flux": rng.normal(size=shape).astype(np.float32), "ivar": ivar, "mask": mask}


PSF, SCALE = [1.31, 1.048, 0.786], [0.262] * 3
NAMES = ["des-z", "des-g", "des-r"]  # not in the recipe's order


def images(layout: str) -> dict[str, pa.Array]:
    """One column, or several, that hold `values()` in one of the layouts that surveys are published in."""
    found = values()
    per_row = [{key: array[n] for key, array in found.items()} for n in range(COUNT)]
    plain = {"band": NAMES, "psf_fwhm": PSF, "scale": SCALE}
    kinds = {"flux": pa.float32(), "ivar": pa.float32(), "mask": pa.bool_()}
    if layout in ("struct of lists", "large lists"):
        wrap = pa.large_list if layout == "large lists" else pa.list_
        fields = [(key, wrap(wrap(wrap(kind)))) for key, kind in kinds.items()]
        fields += [("band", wrap(pa.string())), ("psf_fwhm", wrap(pa.float32())), ("scale", wrap(pa.float32()))]
        rows = [{key: array.tolist() for key, array in row.items()} | plain for row in per_row]
        return {"image": pa.array(rows, pa.struct(fields))}
    if layout in ("list of structs", "list of flat structs"):
        flat = layout == "list of flat structs"
        depth = (lambda kind: pa.list_(kind)) if flat else (lambda kind: pa.list_(pa.list_(kind)))
        fields = [(key, depth(kind)) for key, kind in kinds.items()]
        fields += [("band", pa.string()), ("psf_fwhm", pa.float32()), ("scale", pa.float32())]
        fields += [("shape", pa.list_(pa.int32()))] if flat else []
        shape = {"shape": [SIDE, SIDE]} if flat else {}
        rows = [
            [
                {key: (array[b].ravel() if flat else array[b]).tolist() for key, array in row.items()}
                | {key: value[b] for key, value in plain.items()}
                | shape
                for b in range(3)
            ]
            for row in per_row
        ]
        return {"image": pa.array(rows, pa.list_(pa.struct(fields)))}
    if layout == "flat columns":
        lists = {f"image_{key}": [row[key].ravel().tolist() for row in per_row] for key in kinds}
        columns = {name: pa.array(lists[name]) for name in lists}
        shapes = pa.array([[3, SIDE, SIDE]] * COUNT)
        per_band = {f"image_{key}": pa.array([value] * COUNT) for key, value in plain.items()}
        return columns | per_band | {"image_shape": shapes}
    assert layout == "tensors"
    tensors = {
        f"image_{key}": pa.FixedShapeTensorArray.from_numpy_ndarray(array)
        for key, array in found.items()
        if key != "mask"
    }
    mask = pa.array([row["mask"].tolist() for row in per_row])
    per_band = {f"image_{key}": pa.array([value] * COUNT) for key, value in plain.items()}
    return tensors | {"image_mask": mask} | per_band


LAYOUTS = ("struct of lists", "large lists", "list of structs", "list of flat structs", "flat columns", "tensors")


def write(path: Path, columns: dict[str, Any], group: int = 3) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def catalog() -> dict[str, pa.Array]:
    return {
        "object_id": pa.array([f"b'0421p022-{n}'" for n in range(COUNT)]),
        "ra": pa.array(np.arange(COUNT, dtype=float)),
        "EBV": pa.array(np.linspace(0, 0.6, COUNT)),
        "flux": pa.array(np.arange(COUNT, dtype=float)),  # a catalog's flux is no image
        "lightcurve": pa.array([{"band": ["g", "r"], "flux": [1.0, 2.0]}] * COUNT),
        "rgb": pa.array([{"bytes": b"png", "path": None}] * COUNT),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_what_was_written(tmp_path: Path, layout: str) -> None:
    own = images(layout)
    path = write(tmp_path / "Npix=1.parquet", own | {k: v for k, v in catalog().items() if k not in own})
    assert items_parquet_images(path) == [str(n) for n in range(COUNT)]
    found, order = values(), [1, 2, 0]
    # In order, backwards, and across row groups.
    items = [0, 1, 2, 3, 6, 5, 3, 3, 0]
    for item, outcome in zip(items, read(path, *map(str, items)), strict=True):
        assert isinstance(outcome, Cutout), outcome
        good = (found["mask"] & (found["ivar"] > 0))[item][order]
        wanted = np.where(good, found["flux"][item][order], np.nan)
        np.testing.assert_array_equal(outcome.pixels, wanted)
        assert outcome.variance is not None
        ivar = found["ivar"][item][order]
        np.testing.assert_allclose(outcome.variance[ivar > 0], 1 / ivar[ivar > 0], rtol=1e-6)
        assert np.isnan(outcome.variance[ivar == 0]).all()
        assert outcome.radiometry == "linear"
        assert outcome.pixel_scale == pytest.approx(0.262)
        np.testing.assert_allclose(outcome.nuisance["psf_fwhm_px"], [4.0, 3.0, 5.0], rtol=1e-5)
        np.testing.assert_allclose(outcome.nuisance["ebv"], [item / 10] * 3, rtol=1e-5)
    columns = columns_parquet_images(path)
    assert not isinstance(columns, Refusal)
    assert set(columns) == {"object_id", "ra", "EBV", "flux"}
    np.testing.assert_array_equal(columns["ra"], np.arange(COUNT))


def encoded(kind: str, array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("struct", [True, False])
def test_encoded_pictures(tmp_path: Path, struct: bool) -> None:
    arrays = np.random.default_rng(1).integers(0, 256, (4, 12, 14, 3), np.uint8)
    contents = [encoded("PNG", array) for array in arrays[:3]] + [encoded("JPEG", arrays[3])]
    column = [{"bytes": content, "path": "a.png"} if struct else content for content in contents]
    path = write(tmp_path / "a.parquet", {"image": column, "label": [0, 1, 2, 3], "pxscale": [0.262] * 4}, 2)
    assert items_parquet_images(path) == list("0123")
    for item, outcome in enumerate(read(path, "0", "1", "2", "3")):
        assert isinstance(outcome, Cutout), outcome
        assert outcome.radiometry == "display"
        assert outcome.pixel_scale == pytest.approx(0.262)
        oracle = np.asarray(Image.open(io.BytesIO(contents[item]))).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(outcome.pixels, oracle, atol=1e-6)
    assert cutout(path, "1", ("grey",)).pixels.shape == (1, 12, 14)
    columns = columns_parquet_images(path)
    assert not isinstance(columns, Refusal)
    assert list(columns["label"]) == [0, 1, 2, 3]


def test_rows_without_a_picture(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"GIF8", "path": None}], kind)
    path = write(tmp_path / "a.parquet", {"image": column})
    assert [reason(path, item) for item in "012"] == ["missing", "missing", "format"]


def test_nan_null_and_infinity_become_nan(tmp_path: Path) -> None:
    flux = np.random.default_rng(2).normal(size=(1, 9, 9)).tolist()
    flux[0][0][:3] = [None, float("nan"), float("inf")]
    kind = pa.struct([("flux", pa.list_(pa.list_(pa.list_(pa.float64()))))])
    path = write(tmp_path / "a.parquet", {"image": pa.array([{"flux": flux}, None], kind)})
    got = cutout(path, "0", ("r",))
    assert np.isnan(got.pixels).sum() == 3
    assert np.isnan(got.pixel_scale)
    assert got.variance is None
    assert reason(path, "1", ("r",)) == "missing"


def test_odd_rows_are_refused(tmp_path: Path) -> None:
    def struct(**fields: Any) -> Path:
        return write(tmp_path / "zz.parquet", {"image": pa.array([fields])})

    flux = np.random.default_rng(3).normal(size=(3, 9, 9))
    ragged = flux.tolist()
    ragged[1][4] = ragged[1][4][:5]
    assert reason(struct(flux=ragged)) == "undecodable"
    assert reason(struct(flux=flux.tolist(), band=["g", "r", "i"])) == "bands"
    assert reason(struct(flux=flux.tolist(), ivar=flux[:, :4].tolist())) == "shape"
    assert reason(struct(flux=flux.ravel().tolist(), shape=[3, 9, 10])) == "shape"
    assert reason(struct(flux=flux.ravel().tolist(), shape=[-3, -9, 9])) == "shape"
    assert reason(struct(flux=np.full((3, 9, 9), "a").tolist())) == "format"
    assert reason(struct(flux=flux[:, :5].tolist())) == "too_small"
    path = struct(flux=flux.tolist())
    np.testing.assert_array_equal(cutout(path, None).pixels, flux.astype(np.float32))
    assert reason(path, "1") == "item"
    two = write(tmp_path / "two.parquet", {"a": pa.array([b"1"]), "b": pa.array([b"2"])})
    assert reason(two) == "no_image"
    none = write(tmp_path / "none.parquet", {"a": pa.array([1])})
    assert reason(none) == "no_image"
    assert isinstance(items_parquet_images(none), Refusal)


def test_damage_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", images("struct of lists")).read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for name, content, wanted in (
        ("empty.parquet", b"", {"empty"}),
        ("page.parquet", b"<html>", {"format"}),
        ("cut.parquet", whole[:-9], {"truncated"}),
        ("footer.parquet", whole[:footer] + bytes(60) + whole[footer + 60 :], {"undecodable", "truncated"}),
        ("body.parquet", whole[:4] + bytes(3000) + whole[3004:], {"undecodable", "truncated"}),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert reason(path) in wanted, name
        assert isinstance(items_parquet_images(path), Refusal) or name == "body.parquet"
        assert isinstance(columns_parquet_images(path), Refusal) or name == "body.parquet"
    assert reason(tmp_path / "absent.parquet") == "missing"


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Run lengths pack millions of equal values into a few bytes; the footer says how many there are.
    values = pa.array(np.zeros(3_000_000, np.float32))
    flux = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image_flux": flux, "image_shape": [[3, 1000, 1000]]}), path)
    assert path.stat().st_size < 10**5
    assert reason(path) == "constant"
    monkeypatch.setattr("catalogs.checks.MAX_PIXELS", 2_000_000)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    assert reason(path) == "too_large"
