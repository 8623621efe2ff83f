"""Tables for other programs."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.atomic import replacing
from reports.exports import sky_links, write_anomalies, write_projection


def ranked() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "object_id": ["007", "a,b", "<img onerror=x>", 'quo"te'],
            "score": np.array([0.5, 3.25, 2.0, 1.0], np.float32),
            "links": [{}, sky_links(10.5, -3.25), {"Own": "https://example.org/1"}, {}],
            "rank": [4, 1, 2, 3],
            "knn": [0.5, 3.25, 2.0, 1.0],
            "isolation_forest": [0.1, 0.2, np.nan, 0.4],
            "flags": [[], ["saturated", "edge"], [], ["edge"]],
            "trouble": [["cut"], [], [], []],
        }
    )


def test_csv_and_parquet_hold_the_same_rows_in_order_of_rank(tmp_path: Path) -> None:
    write_anomalies(ranked(), tmp_path / "run")
    csv = pd.read_csv(tmp_path / "run/anomalies.csv", dtype={"object_id": str}, keep_default_na=False)
    columns = ["rank", "object_id", "score", "knn", "isolation_forest", "flags", "trouble", "links"]
    assert list(csv.columns) == columns
    assert csv["rank"].tolist() == [1, 2, 3, 4]
    assert csv["object_id"].tolist() == ["a,b", "<img onerror=x>", 'quo"te', "007"]
    assert csv["flags"].tolist() == ["saturated;edge", "", "edge", ""]
    assert csv["trouble"].tolist() == ["", "", "", "cut"]
    assert csv["isolation_forest"].tolist() == ["0.2", "", "0.4", "0.1"]
    table = pq.read_table(tmp_path / "run/anomalies.parquet")
    assert table.column_names == columns
    assert table.schema.field("object_id").type == pa.string()
    assert table["object_id"].to_pylist() == csv["object_id"].tolist()
    assert table["score"].to_pylist() == csv["score"].tolist() == [3.25, 2.0, 1.0, 0.5]
    assert table["links"].to_pylist() == csv["links"].tolist()
    assert table["links"][0].as_py().split()[0].startswith("https://www.legacysurvey.org/viewer?")
    assert table["isolation_forest"].null_count == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["anomalies.csv", "anomalies.parquet"]


def test_numeric_ids_become_strings_and_flags_and_links_may_be_absent(tmp_path: Path) -> None:
    write_anomalies(pd.DataFrame({"rank": [1], "object_id": [1237648720693755918], "score": [1.0]}), tmp_path)
    table = pq.read_table(tmp_path / "anomalies.parquet")
    assert table["object_id"].to_pylist() == ["1237648720693755918"]
    assert table["flags"].to_pylist() == table["links"].to_pylist() == [""]


def test_no_anomalies_give_tables_with_a_header(tmp_path: Path) -> None:
    write_anomalies(ranked().iloc[:0], tmp_path)
    assert (tmp_path / "anomalies.csv").read_text() == "rank,object_id,score,knn,isolation_forest,flags,trouble,links\n"
    assert pq.read_table(tmp_path / "anomalies.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.nan}, "a score is NaN"),
        ({"rank": 1}, "rank 1 occurs more than once"),
        ({"object_id": "x"}, "object_id x occurs more than once"),
    ],
)
def test_broken_rankings_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_anomalies(ranked().assign(**change), tmp_path)
    with pytest.raises(ValueError, match="no column score"):
        write_anomalies(ranked().drop(columns="score"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_projection_round_trips(tmp_path: Path) -> None:
    xy = np.array([[0.5, -1.25], [3, 4]])
    write_projection(["01", "b"], xy, tmp_path / "projection.parquet")
    table = pq.read_table(tmp_path / "projection.parquet")
    assert table.schema == pa.schema(
        [("object_id", pa.string()), ("projection_x", pa.float32()), ("projection_y", pa.float32())]
    )
    assert table.to_pydict() == {"object_id": ["01", "b"], "projection_x": [0.5, 3.0], "projection_y": [-1.25, 4.0]}
    with pytest.raises(ValueError, match="1 ids for 2 points"):
        write_projection(["01"], xy, tmp_path / "projection.parquet")


@given(st.floats(-720, 720), st.floats(-90, 90))
def test_sky_links_point_at_the_position(ra: float, dec: float) -> None:
    links = sky_links(ra, dec)
    query = parse_qs(urlsplit(links["Legacy Survey"]).query)
    assert query["layer"] == ["ls-dr9"]
    assert query["zoom"] == ["15"]
    assert 0 <= float(query["ra"][0]) < 360
    assert abs((float(query["ra"][0]) - ra + 180) % 360 - 180) < 1e-5
    assert float(query["dec"][0]) == pytest.approx(dec, abs=1e-6)
    target = parse_qs(urlsplit(links["Aladin Lite"]).query)["target"][0].split(" ")
    assert [float(part) for part in target] == [float(query["ra"][0]), pytest.approx(dec, abs=1e-6)]


def test_an_unknown_position_has_no_links_and_a_wrong_one_is_refused() -> None:
    assert sky_links(float("nan"), 3.0) == {}
    assert sky_links(np.float32(3.0), np.float32("nan")) == {}
    with pytest.raises(ValueError, match="not a position"):
        sky_links(10, 91)


def write_half_and_fail(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError("disk")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"):
        write_half_and_fail(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
