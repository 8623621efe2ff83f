"""Pictures: exact values of every depth, orientation, channels to bands, and what is refused."""

import io
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from catalogs.pictures import decode_picture, read_pictures
from catalogs.reading import Cutout, Refusal, Request

RGB = ("r", "g", "b")
GREY = ("grey",)


def values(channels: int, dtype: str = "uint8", side: int = 24) -> np.ndarray:
    top = np.iinfo(dtype).max
    array = np.random.default_rng(0).integers(0, top, (side, side + 6, channels), endpoint=True).astype(dtype)
    return array[..., 0] if channels == 1 else array


def read(*paths: Path, bands: tuple[str, ...] = RGB, white: float | int | None = None) -> Cutout | Refusal:
    rows = pd.DataFrame({"object_id": ["a"], "paths": [tuple(map(str, paths))]})
    (outcome,) = read_pictures(rows, Request(bands, white))
    return outcome


def cutout(*paths: Path, bands: tuple[str, ...] = RGB, white: float | int | None = None) -> Cutout:
    outcome = read(*paths, bands=bands, white=white)
    assert isinstance(outcome, Cutout), outcome
    assert outcome.pixels.dtype == np.float32
    return outcome


def refusal(*paths: Path, bands: tuple[str, ...] = RGB) -> Refusal:
    outcome = read(*paths, bands=bands)
    assert isinstance(outcome, Refusal), "read although it should be refused"
    return outcome


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_depth_is_exact(dtype: str, suffix: str, channels: int, tmp_path: Path) -> None:
    array, path = values(channels, dtype), tmp_path / f"a.{suffix}"
    path.write_bytes(imagecodecs.png_encode(array)) if suffix == "png" else tifffile.imwrite(path, array)
    expected = array.reshape(24, 30, channels).transpose(2, 0, 1) / np.float32(np.iinfo(dtype).max)
    found = cutout(path, bands=RGB if channels == 3 else GREY)
    assert found.radiometry == "display"
    np.testing.assert_allclose(found.pixels, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "1", "L", "RGB"])
def test_every_kind_of_png_is_what_pillow_makes_of_it(mode: str, tmp_path: Path) -> None:
    Image.fromarray(values(3)).convert(mode).save(tmp_path / "a.png")
    expected = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_allclose(cutout(tmp_path / "a.png").pixels, expected / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_stands_upright(mode: str, orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(values(3)).convert(mode)
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_allclose(cutout(tmp_path / "a.jpg").pixels, expected / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_stands_upright(orientation: int, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(3), extratags=[(274, 3, 1, orientation, True)])
    with Image.open(tmp_path / "a.tif") as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved)).transpose(2, 0, 1)
    np.testing.assert_allclose(cutout(tmp_path / "a.tif").pixels, expected / 255, atol=1e-6)


def test_floating_point_tiff_is_linear(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(0, 1e4, (3, 12, 14)).astype(np.float32)
    array[0, 0, 0], array[1, 0, 0] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    found = cutout(tmp_path / "a.tif", bands=("g", "r", "z"), white=10)
    assert found.radiometry == "linear"
    np.testing.assert_array_equal(found.pixels, np.where(np.isfinite(array), array, np.nan))


def test_tiff_white_is_zero_palette_alpha_planes_and_compression(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values(1), photometric="miniswhite")
    np.testing.assert_allclose(cutout(path, bands=GREY).pixels[0], 1 - values(1) / 255, atol=1e-6)
    colours = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(path, values(1), photometric="palette", colormap=colours)
    np.testing.assert_allclose(cutout(path).pixels, colours[:, values(1)] / 65535, atol=1e-6)
    expected = values(4).transpose(2, 0, 1)[:3] / 255
    tifffile.imwrite(path, values(4), photometric="rgb", extrasamples=["unassalpha"], compression="lzw")
    np.testing.assert_allclose(cutout(path).pixels, expected, atol=1e-6)
    tifffile.imwrite(path, values(3).transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib")
    np.testing.assert_allclose(cutout(path).pixels, values(3).transpose(2, 0, 1) / 255, atol=1e-6)


def test_white_is_what_twelve_bits_reach(tmp_path: Path) -> None:
    array = np.linspace(0, 5000, 400).astype(np.uint16).reshape(20, 20)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(array))
    found = cutout(tmp_path / "a.png", bands=GREY, white=4095).pixels[0]
    np.testing.assert_allclose(found, np.clip(array / 4095, 0, 1), rtol=1e-6)
    with pytest.raises(ValueError, match="white is -1"):
        read(tmp_path / "a.png", white=-1)


def test_colour_to_grey_is_what_pillow_calls_grey(tmp_path: Path) -> None:
    image = Image.fromarray(values(3))
    image.save(tmp_path / "a.png")
    found = cutout(tmp_path / "a.png", bands=GREY).pixels
    assert found.shape == (1, 24, 30)
    np.testing.assert_allclose(found[0], np.asarray(image.convert("L")) / 255, atol=1 / 255)


def test_grey_is_repeated_for_three_bands_and_no_other_number(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values(1)))
    found = cutout(tmp_path / "a.png").pixels
    assert (found == found[:1]).all()
    assert refusal(tmp_path / "a.png", bands=("g", "r")).reason == "bands"
    assert refusal(tmp_path / "a.png", bands=tuple("ugriz")) == Refusal(
        "bands", "the picture has 1 channels; the recipe names 5 (u, g, r, i, z)"
    )


def test_a_file_a_band(tmp_path: Path) -> None:
    paths = [tmp_path / f"{band}.png" for band in "ug"]
    for path, array in zip(paths, values(3).transpose(2, 0, 1), strict=False):
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(array)))
    found = cutout(*paths, bands=("u", "g")).pixels
    np.testing.assert_allclose(found, values(3).transpose(2, 0, 1)[:2] / 255, atol=1e-6)
    assert refusal(*paths, bands=RGB).reason == "bands"
    paths[1].write_bytes(imagecodecs.png_encode(values(1, side=30)))
    assert refusal(*paths, bands=("u", "g")).reason == "shape"
    assert refusal(bands=("u", "g")).reason == "missing"


def test_a_display_may_lack_a_colour_and_linear_bands_may_not(tmp_path: Path) -> None:
    array = values(3)
    array[..., 2] = 0
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(array))
    assert cutout(tmp_path / "a.png").pixels[2].max() == 0
    tifffile.imwrite(tmp_path / "a.tif", array.astype(np.float32), photometric="rgb")
    assert refusal(tmp_path / "a.tif").reason == "missing_band"


def encoded(kind: str, array: np.ndarray) -> bytes:
    if kind == "png":
        return bytes(imagecodecs.png_encode(array))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array) if kind == "tif" else Image.fromarray(array).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
def test_what_cannot_be_used_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    whole = encoded(kind, values(3, side=200))
    for content, reason in {
        b"": "empty",
        b"<!doctype html>": "format",
        whole[: len(whole) // 2]: "undecodable",
        whole[:60]: "undecodable",
        encoded(kind, np.full((20, 20, 3), 128, np.uint8)): "constant",
        encoded(kind, values(3, side=7)): "too_small",
    }.items():
        path.write_bytes(content)
        found = refusal(path)
        assert found.reason == reason, found
        assert str(tmp_path) not in found.detail
        assert path.name not in found.detail
        assert "\n" not in found.detail
    assert refusal(tmp_path / f"nope.{kind}").reason == "missing"


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    small = bytearray(encoded("png", values(1)))
    small[16:24] = side.to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(small)
    assert refusal(tmp_path / "a.png").reason == "too_large"


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["png", "tif", "jpg"]), st.data())
def test_a_damaged_file_never_raises(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, data: st.DataObject
) -> None:
    content = bytearray(encoded(kind, values(3)))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    outcome = read(path)
    assert isinstance(outcome, Cutout | Refusal)
    assert "tifffile" not in capfd.readouterr().err


def test_decoding_alone_keeps_the_depth(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values(3, "uint16")))
    decoded = decode_picture(tmp_path / "a.png")
    assert not isinstance(decoded, Refusal)
    assert (decoded.values.dtype, decoded.top) == (np.uint16, 65535)
    np.testing.assert_array_equal(decoded.values, values(3, "uint16"))


def test_real_pictures(shared_data: Path) -> None:
    folders = ("galaxies/efigi/images", "galaxies/sdss_unlabelled/images", "chest/nih/images")
    for folder in folders:
        for path in sorted((shared_data / folder).iterdir())[:20]:
            found = cutout(path, bands=GREY if "chest" in folder else RGB)
            assert 0 <= found.pixels.min() < found.pixels.max() <= 1
