"""Plain FITS files are read as astropy reads them; whatever is unusual is left to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.galaxies.calibration import flux_calibration
from catalogs.galaxies.plain_fits import Header, PlainHDU, plain_hdus

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
NUMBERS = st.one_of(
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
)
KEYS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=8)


def same_as_astropy(path: Path) -> list[PlainHDU]:
    found = plain_hdus(path)
    assert found is not None
    with fits.open(path, memmap=False, uint=False) as hdus:
        assert len(hdus) == len(found)
        for theirs, mine in zip(hdus, found, strict=True):
            names = [key for key in dict.fromkeys(theirs.header) if key not in ("COMMENT", "HISTORY", "")]
            assert list(mine.header) == names
            for key in names:
                assert mine.header[key] == theirs.header[key], key
                assert type(mine.header[key]) is type(theirs.header[key]), key
                assert mine.header.comments[key] == theirs.header.comments[key], key
            if theirs.data is None:
                assert mine.data is None
            else:
                assert mine.data is not None
                assert mine.data.dtype == theirs.data.dtype
                np.testing.assert_array_equal(mine.data, theirs.data)
    return found


@settings(max_examples=150, deadline=None)
@given(
    cards=st.dictionaries(KEYS, st.tuples(st.one_of(NUMBERS, TEXT), st.text("abc /'=.", max_size=10)), max_size=12),
    kind=st.sampled_from([">f4", ">f8", ">i2", ">i4", ">i8", "u1"]),
    shape=st.lists(st.integers(1, 4), max_size=4),
)
def test_values_comments_and_pixels_are_astropys(
    tmp_path_factory: pytest.TempPathFactory, cards: Any, kind: str, shape: list[int]
) -> None:
    header = fits.Header()
    for key, (value, comment) in cards.items():
        if key not in ("END", "CONTINUE", "COMMENT", "HISTORY", "HIERARCH", *_RESERVED) and not key.startswith("NAXIS"):
            header.append(fits.Card(key, value, comment), end=True)
    pixels = np.arange(np.prod(shape), dtype=kind).reshape(shape) if shape else None
    path = tmp_path_factory.mktemp("plain") / "a.fits"
    hdus = fits.HDUList([fits.PrimaryHDU(pixels, header), fits.ImageHDU(np.ones((2, 3), np.float32), header)])
    try:
        hdus.writeto(path, output_verify="silentfix")
    except (ValueError, fits.VerifyError):
        return  # astropy itself does not write such a card
    if plain_hdus(path) is not None:  # long text and record values are astropy's
        same_as_astropy(path)


_RESERVED = ("SIMPLE", "BITPIX", "XTENSION", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK", "EXTEND")


def write(path: Path, *cards: tuple[str, Any], pixels: Any = None) -> Path:
    header = fits.Header()
    for key, value in cards:
        header[key] = value
    fits.PrimaryHDU(np.ones((3, 4), np.float32) if pixels is None else pixels, header).writeto(path)
    return path


def test_a_header_gives_what_a_mapping_gives(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", ("OBJECT", "it's  "), ("GAIN", 2.5), ("LOOKS", True), ("NOTHING", None))
    [hdu] = same_as_astropy(path)
    assert hdu.header["OBJECT"] == "it's"
    assert hdu.header.get("ABSENT", 7) == 7
    assert "GAIN" in hdu.header
    with pytest.raises(KeyError):
        hdu.header["ABSENT"]
    assert [card.keyword for card in hdu.header.cards] == list(hdu.header)


def with_card(path: Path, card: str) -> Path:
    """A file whose card GAIN is replaced by these characters."""
    content = write(path, ("GAIN", 1.5), ("MAGZERO", 25.0), ("SCALE", 2.0)).read_bytes()
    at = content.index(b"GAIN    =")
    path.write_bytes(content[:at] + card.encode().ljust(80) + content[at + 80 :])
    return path


@pytest.mark.parametrize(
    ("card", "key", "value"),
    [
        ("CRVAL1  =              1.5D+02 / Fortran", "CRVAL1", 150.0),
        ("OBJECT  = 'it''s / not'  / a name", "OBJECT", "it's / not"),
        ("OBJECT  = 'a'' /b  '", "OBJECT", "a'"),  # by the standard it is "a' /b"
    ],
)
def test_values_of_odd_forms_are_astropys(tmp_path: Path, card: str, key: str, value: Any) -> None:
    [hdu] = same_as_astropy(with_card(tmp_path / "a.fits", card))
    assert hdu.header[key] == value


@pytest.mark.parametrize("card", ["SEEING  = NaN", "OBSERVER= John Smith"])
def test_a_card_that_cannot_be_read_is_no_harm_to_the_others(tmp_path: Path, card: str) -> None:
    path = with_card(tmp_path / "a.fits", card)
    found = plain_hdus(path)
    assert found is not None
    header = found[0].header
    assert isinstance(header, Header)
    assert flux_calibration(header) == flux_calibration(fits.getheader(path))
    assert flux_calibration(header)[1] == "nJy"
    with pytest.raises(fits.VerifyError):
        header[card[:8].strip()]


@pytest.mark.parametrize(
    "card",
    ["magzero =                 25.0", " FILTER = 'g'", "SCALE   = 3.0", "COMMENT = 'g'", "A.B     = 1", "GAIN    =1"],
)
def test_odd_names_and_names_given_twice_are_left_to_astropy(tmp_path: Path, card: str) -> None:
    assert plain_hdus(with_card(tmp_path / "a.fits", card)) is None


def test_more_axes_than_images_have_are_left_to_astropy(tmp_path: Path) -> None:
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 65", *(f"NAXIS{n:<3d}= 1" for n in range(1, 66)), "END"]
    text = "".join(card.ljust(80) for card in cards)
    (tmp_path / "a.fits").write_bytes(text.encode().ljust(-(-len(text) // 2880) * 2880) + bytes(2880))
    assert plain_hdus(tmp_path / "a.fits") is None


@pytest.mark.parametrize(
    ("cards", "pixels"),
    [
        ([("BSCALE", 2.0)], np.ones((3, 4), np.int16)),
        ([("BZERO", 32768)], np.ones((3, 4), np.int16)),
        ([("BLANK", -1)], np.ones((3, 4), np.int16)),
        ([("HIERARCH FPA.ZP", 25.0)], None),
        ([("LONG", "x" * 100)], None),
        ([("DP1", "AXIS.1: 2.0")], None),
    ],
    ids=["scale", "zero", "blank", "hierarch", "continue", "record"],
)
def test_what_is_unusual_is_left_to_astropy(tmp_path: Path, cards: list[tuple[str, Any]], pixels: Any) -> None:
    path = tmp_path / "a.fits"
    header = fits.Header()
    for key, value in cards:
        header[key] = value
    hdu = fits.PrimaryHDU(np.ones((3, 4), np.float32) if pixels is None else pixels)
    hdu.header.update(header)
    hdu.writeto(path)
    content = path.read_bytes()
    assert any(card[0].removeprefix("HIERARCH ").encode() in content for card in cards)
    assert plain_hdus(path) is None


@given(cut=st.integers(0, 5759), junk=st.binary(max_size=40), at=st.integers(0, 3000))
@settings(max_examples=100, deadline=None)
def test_damaged_files_are_left_to_astropy_or_read_alike(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes, at: int
) -> None:
    path = write(tmp_path_factory.mktemp("damaged") / "a.fits", pixels=np.ones((20, 30), np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    found = plain_hdus(path)
    assert found is None or (len(found) == 1 and cut >= 2880 + 2400)  # the padding may lack, the pixels may not
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    plain_hdus(path)  # never raises
    path.write_bytes(whole + b"more")
    assert plain_hdus(path) is None


def test_tables_compressed_and_absent_files_are_left_to_astropy(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    fits.PrimaryHDU(np.ones((3, 4), np.float32)).writeto(tmp_path / "a.fits.gz")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.ones((64, 64), np.float32))]).writeto(tmp_path / "a.fits.fz")
    for name in ("table.fits", "a.fits.gz", "a.fits.fz", "absent.fits"):
        assert plain_hdus(tmp_path / name) is None, name
    assert plain_hdus(tmp_path) is None


def test_real_files_are_read_as_astropy_reads_them(shared_data: Path) -> None:
    plain = 0
    for path in sorted(shared_data.glob("**/*.fit*")):
        if path.is_file() and plain_hdus(path) is not None:
            same_as_astropy(path)
            plain += 1
    assert plain > 30
