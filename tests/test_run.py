"""A run's results in a notebook, and what is said where a step has not been done."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domainssl.embedding import write_part
from pipelines import Run
from pipelines.atomic import write_json
from pipelines.run_folder import NotARunError, RunFolder, RunFolderError

WHAT = (
    *("catalog", "quarantine", "embeddings", "vectors", "metrics", "predictions", "suspects", "next_labels"),
    *("anomalies", "projection"),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path / "x", create=True)


@pytest.mark.parametrize("what", WHAT)
def test_what_was_not_made_yet_names_the_command_that_makes_it(folder: RunFolder, what: str) -> None:
    run = Run(str(folder.folder))
    with pytest.raises(RunFolderError, match=rf"in {folder.folder} yet; `domainssl \w+ .*recipe\.toml --out .*` makes"):
        getattr(run, what)


def test_a_run_of_an_earlier_version_says_how_to_make_the_lists(folder: RunFolder) -> None:
    folder.mark_done("classify", "k", [])
    for what in ("suspects", "next_labels"):
        with pytest.raises(RunFolderError, match=rf"no {what}\.csv in .*; `domainssl classify .* --force` makes it"):
            getattr(Run(folder.folder), what)


def test_a_step_begun_again_hides_what_an_earlier_time_made(folder: RunFolder) -> None:
    write_json(folder.metrics, [])
    folder.mark_done("classify", "k", [folder.metrics])
    assert Run(folder.folder).metrics.empty
    folder.begin("classify", "k2")
    with pytest.raises(RunFolderError, match="no metrics in"):
        _ = Run(folder.folder).metrics


def test_a_path_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="no run at"):
        Run(tmp_path / "none")


def test_embeddings_come_in_the_order_of_their_parts_and_as_one_array(folder: RunFolder) -> None:
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16).astype(np.float32)
    folder.embeddings.mkdir()
    for number, rows in enumerate(([0, 1, 2], [3, 4])):
        write_part(
            folder.embeddings / f"part-{number:05d}.parquet",
            [f"id{row}" for row in rows],
            np.array(rows, float),
            np.full(len(rows), np.nan),
            features[rows],
            "abc",
        )
    folder.mark_done("embed", "k", [folder.embeddings])
    run = Run(folder.folder)
    frame = run.embeddings
    assert frame["object_id"].tolist() == ["id0", "id1", "id2", "id3", "id4"]
    assert frame["ra"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert frame["dec"].isna().all()
    assert run.vectors.dtype == np.float32
    np.testing.assert_array_equal(run.vectors, features)
    np.testing.assert_array_equal(np.stack(frame["embedding"].tolist()), features)
    assert repr(run) == f"Run('{folder.folder}'): done embed"


def test_tables_are_read_as_they_were_written(folder: RunFolder) -> None:
    frame = pd.DataFrame({"object_id": ["007", "8"], "score": [2.0, 1.0]})
    for path in (folder.catalog, folder.predictions, folder.anomalies_parquet, folder.projection):
        frame.to_parquet(path)
    folder.quarantine.write_text("object_id,reason,detail\n007,truncated,too short\n")
    write_json(folder.metrics, [{"label": "label", "value": 0.9, "low": None}])
    for step in ("prepare", "classify", "rank", "report"):
        folder.mark_done(step, "k", [])
    run = Run(folder.folder)
    for table in (run.catalog, run.predictions, run.anomalies, run.projection):
        pd.testing.assert_frame_equal(table, frame)
    assert run.quarantine["object_id"].tolist() == ["007"]
    assert run.metrics["value"].tolist() == [0.9]
    assert set(run.manifest["steps"]) == {"prepare", "classify", "rank", "report"}
