"""Catalogs: exact ids from every format, canonical columns, and errors that name the remedy."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from catalogs.canonical import CatalogSource
from catalogs.columns import Columns
from catalogs.scanning import without_suffix
from catalogs.tables import combine, read_catalog

# Neither is a float64: rounding would change the last digits.
BIG, BIGGER = 1237648720693755918, 9223372036854775807
FORMATS = ("csv", "fits", "parquet")


def write(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    """The same table in the format of the suffix; None is a missing cell."""
    if path.suffix == ".csv":
        lines = [",".join(columns)]
        lines += [
            ",".join("" if cell is None else str(cell) for cell in row) for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), path)
    else:
        table = Table()
        for name, cells in columns.items():
            filler = next(type(cell)() for cell in cells if cell is not None)
            values = [filler if cell is None else cell for cell in cells]
            table[name] = MaskedColumn(values, mask=[cell is None for cell in cells]) if None in cells else values
        table.write(path)
    return path


def read(path: Path | None, labels: tuple[str, ...] = (), images: Path | None = None, **options: Any) -> pd.DataFrame:
    pattern, bands = options.pop("file_pattern", None), options.pop("bands", ("g", "r", "z"))
    folder = images or (path.parent if path else Path())
    source = CatalogSource("survey", path, folder, Columns(**options), bands, pattern)
    return read_catalog(source, labels)


@pytest.mark.parametrize("kind", FORMATS)
def test_canonical_columns_of_every_format(kind: str, tmp_path: Path) -> None:
    path = write(
        tmp_path / f"t.{kind}",
        {
            "objID": [BIG, BIGGER],
            "file_loc": ["a.fits", "sub/b.fits"],
            "RA": [10.5, None],
            "DEC": [-5.25, None],
            "redshift": [0.5, -99.0],
            "split": ["Validation", "TEST"],
            "label": ["spiral", None],
            "petro_r": [1.5, 2.5],
            "run": [7, None],
        },
    )
    frame = read(path, ("label",))
    assert list(frame["object_id"]) == [str(BIG), str(BIGGER)]
    assert list(frame["paths"]) == [(str(tmp_path / "a.fits"),), (str(tmp_path / "sub/b.fits"),)]
    assert list(frame["group"]) == [None, None]  # unknown
    assert list(frame["issuer"]) == [None, None]
    assert list(frame["split"]) == ["train", "test"]
    assert list(frame["catalog"]) == ["survey", "survey"]
    assert list(frame["label"]) == ["spiral", None]
    assert frame["label"].dtype == object
    np.testing.assert_array_equal(frame["ra"], [10.5, np.nan])
    np.testing.assert_array_equal(frame["dec"], [-5.25, np.nan])
    np.testing.assert_array_equal(frame["redshift"], [0.5, np.nan])
    assert [str(frame[name].dtype) for name in ("ra", "dec", "redshift")] == ["float64"] * 3
    assert list(frame["petro_r"]) == [1.5, 2.5]
    assert frame["run"].iloc[0] == 7
    assert pd.isna(frame["run"].iloc[1])
    assert not {"objID", "file_loc", "RA"} & set(frame.columns)


@pytest.mark.parametrize("kind", FORMATS)
def test_whole_numbers_stay_exact_beside_missing_ones(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t.{kind}", {"id": ["a", "b"], "file": ["a.png", "b.png"], "patient_id": [BIG, None]})
    assert list(read(path)["group"]) == [str(BIG), None]
    path = write(tmp_path / f"u.{kind}", {"id": [BIG, None], "file": ["a.png", "b.png"]})
    with pytest.raises(ValueError, match=r"1 row\(s\) have no id \(column 'id'; row 2\); give each an id"):
        read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_float_ids_are_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t.{kind}", {"id": [1.2376e18, 5.0], "file": ["a.png", "b.png"]})
    with pytest.raises(ValueError, match=r"ids in column 'id' are floating-point numbers .* store them as integers"):
        read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_double_ids_are_refused_by_name_and_number(kind: str, tmp_path: Path) -> None:
    ids = ["p", "q", "p", "r", "q", "p", "s", "s", "t", "t"]
    path = write(tmp_path / f"t.{kind}", {"id": ids, "file": [f"{n}.png" for n in range(10)]})
    with pytest.raises(ValueError, match=r"4 id\(s\) .* 'p' 3 times, 'q' 2 times, 's' 2 times; keep one row each"):
        read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_leading_zeros_and_the_name_na_stay(kind: str, tmp_path: Path) -> None:
    path = write(
        tmp_path / f"t.{kind}", {"id": ["007", "NA", "None"], "file": ["a", "b", "c"], "l": ["null", "01", ""]}
    )
    frame = read(path, ("l",))
    assert list(frame["object_id"]) == ["007", "NA", "None"]
    assert list(frame["l"]) == ["null", "01", None]


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_that_are_numbers_become_text(kind: str, tmp_path: Path) -> None:
    path = write(
        tmp_path / f"t.{kind}", {"file": ["a.png", "b.png"], "t_type": [-5, None], "bar": [0.25, None], "k": [3, 4]}
    )
    frame = read(path, ("t_type", "bar", "k"))
    assert frame[["t_type", "bar", "k"]].to_numpy().tolist() == [["-5", "0.25", "3"], [None, None, "4"]]


def test_without_ids_the_file_names_are_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"file": ["images/a.jpg", "images/b.tar.fits.gz"]})
    assert list(read(path)["object_id"]) == ["a", "b.tar"]
    path = write(tmp_path / "u.csv", {"file": ["one/a.jpg", "two/a.jpg"]})
    with pytest.raises(ValueError, match=r"1 id\(s\) stand in several rows \(file names as ids\): 'a' 2 times"):
        read(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.fits.gz", "a"), ("a.b.FITS.FZ", "a.b"), ("a.jpeg", "a"), ("a.xyz", "a"), ("a", "a"), ("d/a.fit", "d/a")],
)
def test_suffixes(name: str, expected: str) -> None:
    assert without_suffix(name) == expected


def test_a_column_a_band(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"id": ["a", "b"], "g_img": ["ag.fits", "bg.fits"], "r_img": ["ar.fits", None]})
    frame = read(path, bands=("r", "g"), file={"g": "g_img", "r": "r_img"})
    assert list(frame["paths"]) == [(str(tmp_path / "ar.fits"), str(tmp_path / "ag.fits")), ()]
    with pytest.raises(ValueError, match=r"columns\.file names no column for band 'z'; it has g, r"):
        read(path, bands=("g", "z"), file={"g": "g_img", "r": "r_img"})


def test_patterns_name_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"id": ["a", "b"], "tile": ["007", "t2"]})
    frame = read(path, bands=("g", "r"), file_pattern="{tile}/{id}_{band}.fits")
    assert frame["paths"][0] == (str(tmp_path / "007/a_g.fits"), str(tmp_path / "007/a_r.fits"))
    assert list(read(path, file_pattern="{id}.fits")["paths"]) == [(str(tmp_path / f"{n}.fits"),) for n in "ab"]
    with pytest.raises(ValueError, match=r"no column 'tiles'; did you mean 'tile'\? It has: id, tile"):
        read(path, file_pattern="{tiles}/{id}.fits")
    for pattern in ("a.fits", "{id", "{id.__class__}.fits", "{}.fits"):
        with pytest.raises(ValueError, match="file_pattern"):
            read(path, file_pattern=pattern)
    with pytest.raises(ValueError, match="keep one of them"):
        read(path, file="tile", file_pattern="{id}.fits")


def test_configured_names_win_and_nuisances_are_canonical(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        {
            "id": ["1", "2"],
            "name": ["x", "y"],
            "file": ["a", "b"],
            "png": ["c", "d"],
            "EBV": [0.1, None],
            "seeing_g": [1.5, 2],
            "seeing_r": [3, 4],
        },
    )
    frame = read(path, id="name", file="png", psf_fwhm_px="seeing_{band}", bands=("g", "r"))
    assert list(frame["object_id"]) == ["x", "y"]
    assert list(frame["id"]) == [1, 2]
    assert frame["paths"][1] == (str(tmp_path / "d"),)
    np.testing.assert_array_equal(frame["ebv"], np.array([0.1, np.nan], np.float32))
    np.testing.assert_array_equal(frame["psf_fwhm_px:r"], [3, 4])
    assert {str(frame[c].dtype) for c in ("ebv", "psf_fwhm_px:g", "psf_fwhm_px:r")} == {"float32"}
    both = read(path, id="name", psf_fwhm_px="seeing_g", bands=("g", "r"))
    np.testing.assert_array_equal(both["psf_fwhm_px:r"], both["psf_fwhm_px:g"])


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"id": ["a"], "fiel": ["x"]}, {"file": "file"}, r"columns.file: .* no column 'file'; did you mean 'fiel'\?"),
        ({"id": ["a"], "x": ["x"]}, {}, "no column names the files; give columns.file, or file_pattern. .*: id, x"),
        ({"x": ["a"]}, {"file_pattern": "{id}.fits"}, "no column holds ids; name one in columns.id"),
        ({"file": ["a"], "split": ["dev"]}, {}, "split: column 'split' has 'dev'; it takes train, val, test"),
        ({"file": ["a"], "ra": ["12:30:00"]}, {}, "ra: column 'ra' has '12:30:00', which is no number"),
        ({"file": ["a"], "dec": [91]}, {}, r"dec: column 'dec' has 91 and 0 more outside -90\.\.90; give ICRS degrees"),
        ({"file": ["a"], "ra": [-999]}, {}, r"outside 0\.\.360"),
        ({"file": []}, {}, "has no rows"),
    ],
)
def test_errors_name_the_remedy(columns: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write(tmp_path / "t.csv", columns), **options)
    assert str(caught.value).startswith("catalog 'survey': ")
    assert "\n" not in str(caught.value)


def test_labels_that_are_missing_or_canonical(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"file": ["a"], "label": ["x"]})
    frame = read(path, ("labell",))
    assert "labell" not in frame
    with pytest.raises(ValueError, match=r"labels.labell: .* did you mean 'label'"):
        combine([frame], ("labell",))
    survey = read(write(tmp_path / "survey.csv", {"file": ["b"]}), ("label",))
    assert list(combine([read(path, ("label",)), survey], ("label",))["label"]) == ["x", None]
    with pytest.raises(ValueError, match="label 'split' has the name of a canonical column"):
        read(path, ("split",))
    values = read(path, ("redshift",))["redshift"]  # what photo-z heads predict
    assert str(values.dtype) == "float64"


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match="images: no folder"):
        read(write(tmp_path / "t.csv", {"file": ["a"]}), images=tmp_path / "nope")
    for name, content, message in [
        ("empty.csv", b"", "0 bytes"),
        ("long.csv", b"file,label\na,b,c\n", "cannot be read as csv"),
        ("latin.csv", "file\nå\n".encode("latin-1"), "not UTF-8"),
        ("not.fits", b"hello", "cannot be read as fits"),
        ("not.parquet", b"hello", "cannot be read as parquet"),
        ("t.xlsx", b"PK", "ends in none of"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


def test_a_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffid,file,note\n" a ",b.png,"x, ""y"""\n'.encode())
    frame = read(tmp_path / "t.csv")
    assert frame.loc[0, ["object_id", "note"]].tolist() == ["a", 'x, "y"']


def test_fits_text_is_stripped_and_array_columns_left_out(tmp_path: Path) -> None:
    table = Table({"id": np.array(["a  ", "b"], "S8"), "file": ["x", "y"], "flux": np.ones((2, 3))})
    table["count"] = np.array([2**63 + 1, 5], np.uint64)
    table.write(tmp_path / "t.fits")
    frame = read(tmp_path / "t.fits")
    assert list(frame["object_id"]) == ["a", "b"]
    assert "flux" not in frame
    assert list(frame["count"]) == [2**63 + 1, 5]
    assert all(dtype.isnative for dtype in frame.dtypes if isinstance(dtype, np.dtype))


def test_parquet_written_by_pandas_keeps_its_index_as_ids(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"file": ["x", "y"], "kind": pd.Categorical(["u", "v"])}, index=pd.Index([BIG, 3], name="objid")
    )
    frame.to_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet", ("kind",))
    assert list(found["object_id"]) == [str(BIG), "3"]
    assert list(found["kind"]) == ["u", "v"]


def test_a_folder_is_scanned(tmp_path: Path) -> None:
    for name in ("b.FITS", "a/c.jpg", "a/d.fits.gz", ".hidden.png", "notes.txt", ".git/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    frame = read(None, images=tmp_path)
    assert list(frame["object_id"]) == ["a/c", "a/d", "b"]
    assert frame["paths"][1] == (str(tmp_path / "a/d.fits.gz"),)
    (tmp_path / "b.png").touch()
    with pytest.raises(ValueError, match="'b' 2 times"):
        read(None, images=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no file that could be read"):
        read(None, images=empty)


def test_a_folder_is_scanned_by_a_pattern(tmp_path: Path) -> None:
    for name in ("a_b_g.fits", "a_b_r.fits", "c_g.fits", "d_x.fits"):
        (tmp_path / name).touch()
    frame = read(None, images=tmp_path, bands=("g", "r"), file_pattern="{id}_{band}.fits")
    assert list(frame["object_id"]) == ["a_b", "c"]
    assert frame["paths"][1] == (str(tmp_path / "c_g.fits"), str(tmp_path / "c_r.fits"))
    with pytest.raises(ValueError, match=r"no file that matches '\{id\}_\{band\}\.png'"):
        read(None, images=tmp_path, file_pattern="{id}_{band}.png")
    with pytest.raises(ValueError, match="without a table it takes"):
        read(None, images=tmp_path, file_pattern="{tile}/{id}.fits")


def test_catalogs_are_combined(tmp_path: Path) -> None:
    first = read(write(tmp_path / "a.csv", {"file": ["a"], "label": ["x"], "ebv": [0.5]}), ("label",))
    second = read(write(tmp_path / "b.csv", {"file": ["b"], "extra": [1]})).assign(catalog="other")
    both = combine([first, second])
    assert list(both["object_id"]) == ["a", "b"]
    assert list(both["label"]) == ["x", None]
    assert both["ebv"].dtype == np.float32
    assert list(both.index) == [0, 1]
    with pytest.raises(ValueError, match=r"object_id 'a' and 0 more stand in the catalogs 'survey' and 'again'"):
        combine([first, second, first.assign(catalog="again")])
    with pytest.raises(ValueError, match="names at least one"):
        combine([])


SURVEYS = {  # as the surveys themselves name their columns
    "SDSS": ("objID", "ra", "dec"),
    "Galaxy Zoo 2": ("dr7objid", "ra", "dec"),
    "Galaxy Zoo DECaLS": ("iauname", "ra", "dec"),
    "Gaia": ("source_id", "ra", "dec"),
    "Euclid": ("OBJECT_ID", "RIGHT_ASCENSION", "DECLINATION"),
    "Rubin": ("objectId", "coord_ra", "coord_dec"),
    "DES": ("COADD_OBJECT_ID", "ALPHAWIN_J2000", "DELTAWIN_J2000"),
    "SIMBAD": ("main_id", "RA_d", "DEC_d"),
    "VizieR": ("ID", "_RAJ2000", "_DEJ2000"),
    "Pan-STARRS": ("objID", "raMean", "decMean"),
}


@pytest.mark.parametrize("survey", SURVEYS)
def test_columns_as_surveys_name_them(survey: str, tmp_path: Path) -> None:
    name, ra, dec = SURVEYS[survey]
    path = write(tmp_path / "t.csv", {name: ["7"], ra: [10.5], dec: [-5.25], "file": ["a.fits"]})
    row = read(path).loc[0, ["object_id", "ra", "dec"]]
    assert row.tolist() == ["7", 10.5, -5.25]


def test_legacy_surveys_number_objects_within_bricks(tmp_path: Path) -> None:
    columns = {"release": [9010, 9010], "brickid": [330368, 330369], "objid": [7, 7]}
    path = write(tmp_path / "t.fits", columns)
    frame = read(path, file_pattern="{id}.fits")
    assert list(frame["object_id"]) == ["330368_7", "330369_7"]
    with pytest.raises(ValueError, match=r"column 'objid'\): '7' 2 times"):
        read(path, id="objid", file_pattern="{id}.fits")


@pytest.mark.parametrize("kind", ["fits", "vot", "parquet", "ecsv"])
def test_positions_come_in_the_unit_that_the_table_gives(kind: str, tmp_path: Path) -> None:
    table = Table({"id": ["a", "b"], "file": ["x", "y"]})
    table["coord_ra"] = np.array([0.5, np.nan], np.float32) * u.rad
    table["coord_dec"] = np.array([-0.25, 0.25]) * u.rad
    table["theta"] = np.array([1.0, 2.0]) * u.rad
    form = {"vot": "votable", "ecsv": "ascii.ecsv"}.get(kind)
    table.write(tmp_path / f"t.{kind}", format=form)
    frame = read(tmp_path / f"t.{kind}")
    np.testing.assert_allclose(frame["ra"], [np.degrees(0.5), np.nan], rtol=1e-14)
    np.testing.assert_allclose(frame["dec"], np.degrees([-0.25, 0.25]), rtol=1e-14)
    assert list(frame["theta"]) == [1, 2]  # no position: as it is
    table["coord_ra"].unit = u.hour if kind == "fits" else u.hourangle  # FITS knows no unit of hour angle
    table["coord_dec"].unit = u.deg
    if kind == "vot":  # nor does VOTable: archives give text
        table["coord_ra"].unit = u.Unit('"h:m:s"', parse_strict="silent")
        table["coord_ra"] = MaskedColumn(["00 30 00.0", ""], unit=table["coord_ra"].unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(tmp_path / f"h.{kind}", format=form)
    np.testing.assert_allclose(read(tmp_path / f"h.{kind}")["ra"], [7.5, np.nan])
    table["coord_dec"].unit = u.Jy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(tmp_path / f"j.{kind}", format=form)
    with pytest.raises(ValueError, match="dec: column 'coord_dec' has the unit 'Jy'; give degrees, radians or hours"):
        read(tmp_path / f"j.{kind}")


def test_positions_that_the_table_names_win(tmp_path: Path) -> None:
    table = Table({"id": ["a"], "file": ["x"], "ra": [1.0], "dec": [2.0], "lon": [3.0], "lat": [4.0]})
    table["lon"].meta["ucd"], table["lat"].meta["ucd"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    table.write(tmp_path / "t.vot", format="votable")
    assert read(tmp_path / "t.vot").loc[0, ["ra", "dec"]].tolist() == [3, 4]
    assert read(tmp_path / "t.vot", ra="ra").loc[0, "ra"] == 1


@pytest.mark.parametrize(
    ("table", "rows", "groups"),
    [
        ("galaxies/efigi", 4458, 4458),
        ("galaxies/sdss_unlabelled", 1500, 1500),
        ("chest/nih", 688, 504),
    ],
)
def test_real_catalogs(table: str, rows: int, groups: int, shared_data: Path) -> None:
    frame = read(shared_data / table / "labels.csv", ("label",))
    assert len(frame) == rows
    assert frame["group"].nunique() == groups
    assert all(Path(paths[0]).is_file() for paths in frame["paths"])
    if "efigi" in table:
        assert frame["T"].dtype.kind in "if"
    if "unlabelled" in table:
        assert frame["label"].isna().all()
        assert frame["ra"].between(0, 360).all()
