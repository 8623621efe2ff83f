"""Table files: every format gives the same frame, folders of Parquet and HATS too, and damage is named."""

import gzip
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import CatalogError
from catalogs.table_files import read_table

BIG = 1237648720693755918  # no float64
KINDS = ("ecsv", "tbl", "fits", "vot", "xml", "vot.gz", "binary2.vot", "parquet")


def plain(columns: Sequence[str]) -> Sequence[str]:
    """No column is to be kept as text."""
    return ()


def table() -> Table:
    return Table(
        {
            "objectId": MaskedColumn([BIG, 5, BIG + 2], mask=[False, True, False]),
            "name": ["M 31", "ngc", "IC"],
            "coord_ra": np.array([0.5, 1, 2]) * u.rad,
            "mag": MaskedColumn(np.array([1.5, 2, 3], np.float32), mask=[False, False, True]),
        }
    )


def write(path: Path, content: Table) -> Path:
    kind = path.name.split(".", 1)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind in ("ecsv", "tbl"):
            content.write(path, format={"ecsv": "ascii.ecsv", "tbl": "ascii.ipac"}[kind])
        elif kind == "binary2.vot":
            content.write(path, format="votable", tabledata_format="binary2")
        elif kind == "vot.gz":
            content.write(path.with_suffix(""), format="votable")
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        else:
            content.write(path, format={"fits": "fits", "parquet": "parquet"}.get(kind, "votable"))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_keeps_ids_gaps_text_and_units(kind: str, tmp_path: Path) -> None:
    frame = read_table(write(tmp_path / f"t.{kind}", table()), plain)
    assert list(frame.columns) == ["objectId", "name", "coord_ra", "mag"]
    assert frame["objectId"][0] == BIG
    assert frame["objectId"][2] == BIG + 2
    assert frame["objectId"].isna().tolist() == [False, True, False]
    assert frame["name"].tolist() == ["M 31", "ngc", "IC"]
    np.testing.assert_allclose(frame["coord_ra"], [0.5, 1, 2])
    np.testing.assert_array_equal(frame["mag"], [1.5, 2, np.nan])
    assert frame.attrs["units"]["coord_ra"] == "rad"


def outcome_of(path: Path) -> pd.DataFrame | CatalogError:
    try:
        return read_table(path, plain)
    except CatalogError as error:
        return error


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_short_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole.{kind}", table()).read_bytes()
    path = tmp_path / f"cut.{kind}"
    for length in (0, 1, 10, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:length])
        outcome = outcome_of(path)
        if isinstance(outcome, CatalogError):
            assert str(path) in str(outcome)
            assert "again" in str(outcome)
        else:  # text tables end anywhere
            assert kind in ("ecsv", "tbl")
            assert len(outcome) < 3


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60), st.sampled_from([".csv", ".csv.gz", ".ecsv", ".tbl", ".fits", ".vot", ".pq"]))
def test_any_bytes_are_a_table_or_a_catalog_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    path.write_bytes(content)
    outcome = outcome_of(path)
    assert isinstance(outcome, pd.DataFrame) or str(path) in str(outcome)


def test_a_votable_of_several_tables_gives_the_first_with_rows(tmp_path: Path) -> None:
    file = votable.tree.VOTableFile()
    resource = votable.tree.Resource()
    file.resources.append(resource)
    for rows in ([], [1, 2], [3]):
        part = votable.from_table(
            Table({"id": np.array(rows, np.int64), "name": np.array(["é", "b"][: len(rows)], "U1")})
        )
        resource.tables.append(part.resources[0].tables[0])
    file.to_xml(str(tmp_path / "t.vot"))
    frame = read_table(tmp_path / "t.vot", plain)
    assert frame["id"].tolist() == [1, 2]
    assert frame["name"].tolist() == ["é", "b"]


def test_a_votable_names_its_positions_by_ucd(tmp_path: Path) -> None:
    content = Table({"a": [1.0], "lon": [2.0], "lat": [3.0], "spectrum": np.ones((1, 4))})
    for name, ucd in {"lon": "pos.eq.ra;meta.main", "lat": "POS.EQ.DEC; META.MAIN"}.items():
        content[name].meta["ucd"] = ucd
    frame = read_table(write(tmp_path / "t.vot", content), plain)
    assert frame.attrs["positions"] == {"ra": "lon", "dec": "lat"}
    assert list(frame.columns) == ["a", "lon", "lat"]


def test_xml_that_is_no_votable(tmp_path: Path) -> None:
    (tmp_path / "t.xml").write_text("<html><body>502 Bad Gateway</body></html>")
    with pytest.raises(CatalogError, match=r"t\.xml cannot be read as vot: "):
        read_table(tmp_path / "t.xml", plain)


def test_fits_tables_after_images_and_sextractors_headers(tmp_path: Path) -> None:
    header = fits.BinTableHDU(Table({"Field Header Card": ["SIMPLE"]}), name="LDAC_IMHEAD")
    objects = fits.BinTableHDU(Table({"NUMBER": [1, 2]}), name="LDAC_OBJECTS")
    image = fits.ImageHDU(np.zeros((2, 2)))
    fits.HDUList([fits.PrimaryHDU(), image, header, objects]).writeto(tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits", plain)["NUMBER"].tolist() == [1, 2]
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "image.fits")
    with pytest.raises(CatalogError, match="no HDU holds a table"):
        read_table(tmp_path / "image.fits", plain)


def test_csv_as_casjobs_and_gaia_write_it(tmp_path: Path) -> None:
    (tmp_path / "casjobs.csv").write_text(f"#Table1\nobjid,ra\n{BIG},1.5\n")
    assert read_table(tmp_path / "casjobs.csv", plain).to_dict("list") == {"objid": [BIG], "ra": [1.5]}
    (tmp_path / "hash.csv").write_text("#id,ra\n1,2\n")  # a header that begins with "#" is a header
    assert list(read_table(tmp_path / "hash.csv", plain).columns) == ["#id", "ra"]
    bulk = write(tmp_path / "t.ecsv", table())
    (tmp_path / "gaia.csv.gz").write_bytes(gzip.compress(bulk.read_bytes()))
    pd.testing.assert_frame_equal(read_table(tmp_path / "gaia.csv.gz", plain), read_table(bulk, plain))


@pytest.mark.parametrize("suffix", ["csv", "fits", "parquet"])
def test_only_wanted_columns(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{suffix}"
    Table({"id": [1], "a": [2], "b": [3]}).write(path)
    frame = read_table(path, lambda columns: columns, lambda columns: {"id", "b", "z"})
    assert list(frame.columns) == ["id", "b"]


def test_parquet_images_stay_closed_and_folders_above_are_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "survey=des"
    folder.mkdir()
    content = pa.table({"id": [1], "image": [{"flux": [[1.0]]}], "bands": [["g"]]})
    pq.write_table(content, folder / "t.parquet")
    assert list(read_table(folder / "t.parquet", plain).columns) == ["id"]


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    for name, content in {
        "tile=007/a.parquet": {"id": [BIG], "note": pa.array([None], pa.null())},
        "tile=a%20b/b.parquet": {"id": [None, 2], "note": ["x", "y"]},
        "tile=__HIVE_DEFAULT_PARTITION__/c.pq": {"id": [3], "note": ["z"]},
        "_temporary/d.parquet": {"id": [9], "note": ["no"]},
    }.items():
        (tmp_path / name).parent.mkdir()
        pq.write_table(pa.table(content), tmp_path / name)
    frame = read_table(tmp_path, plain)
    assert frame["tile"].fillna("").tolist() == ["007", "", "a b", "a b"]
    assert frame["id"].astype(object).tolist()[:2] == [BIG, 3]
    assert frame["note"].tolist()[1:] == ["z", "x", "y"]
    pq.write_table(pa.table({"id": ["text"]}), tmp_path / "tile=007/z.parquet")
    with pytest.raises(CatalogError, match=r"z\.parquet cannot be read as parquet: .*id"):
        read_table(tmp_path, plain)
    (tmp_path / "tile=007/z.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(CatalogError, match=r"z\.parquet cannot be read as parquet"):
        read_table(tmp_path, plain)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no Parquet file"):
        read_table(tmp_path / "nothing", plain)


def hats(folder: Path, **properties: object) -> Path:
    """A HATS catalog of two partitions, laid out as hats-import and LSDB (0.11) write it."""
    for pixel, rows in {44: [BIG, BIG + 1], 45: [BIG + 2]}.items():
        path = folder / f"dataset/Norder=1/Dir=0/Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "objectId": rows,
            "coord_ra": [10.0 + n for n in range(len(rows))],
            "coord_dec": [-5.0] * len(rows),
            "ra": [0.1] * len(rows),
            "lightcurve": [[1.0, 2.0]] * len(rows),
            "Norder": [1] * len(rows),
            "_healpix_29": [pixel << 56] * len(rows),
        }
        pq.write_table(pa.table(columns), path)
    shutil.copy(path, folder / "dataset/_metadata")
    (folder / "partition_info.csv").write_text("Norder,Npix\n1,44\n1,45\n")
    values = {
        "obs_collection": "demo",
        "dataproduct_type": "object",
        "hats_nrows": 3,
        "hats_col_ra": "coord_ra",
        "hats_col_dec": "coord_dec",
    } | properties
    lines = ["#HATS catalog", *(f"{key}={value}" for key, value in values.items())]
    (folder / "hats.properties").write_text("\n".join(lines))
    return folder


def test_a_hats_catalog(tmp_path: Path) -> None:
    frame = read_table(hats(tmp_path / "demo"), plain)
    assert list(frame.columns) == ["objectId", "coord_ra", "coord_dec", "ra"]
    assert frame["objectId"].tolist() == [BIG, BIG + 1, BIG + 2]
    assert frame.attrs["positions"] == {"ra": "coord_ra", "dec": "coord_dec"}
    (tmp_path / "demo/hats.properties").rename(tmp_path / "demo/properties")
    pd.testing.assert_frame_equal(read_table(tmp_path / "demo", plain), frame)
    (tmp_path / "collection.properties").write_text("#HATS Collection\nhats_primary_table_url = demo\n")
    pd.testing.assert_frame_equal(read_table(tmp_path, plain), frame)
    assert list(read_table(tmp_path, plain, lambda columns: {"objectId", "lightcurve"}).columns) == ["objectId"]


def test_a_damaged_hats_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="is the HATS margin of a catalog; name the folder of the catalog itself"):
        read_table(hats(tmp_path / "margin", dataproduct_type="margin"), plain)
    folder = hats(tmp_path / "demo")
    (folder / "dataset/Norder=1/Dir=0/Npix=45.parquet").unlink()
    with pytest.raises(
        CatalogError,
        match=r"holds 2 rows, .* promise 3 \(1 partition\(s\) are missing: Norder=1/Npix=45\); fetch it again",
    ):
        read_table(folder, plain)


def test_hats_elsewhere_needs_lsdb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lsdb", None)
    with pytest.raises(CatalogError, match=r"https://data\.example\.org/dr1 ?: .*pip install domainssl\[hats\]"):
        read_table(Path("https://data.example.org/dr1"), plain)
