"""Files are whole or absent, whatever stops the process that writes them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.atomic import atomic_write, remove_stale, write_bytes, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent


def test_content_appears_at_the_end_of_the_block_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "table.parquet"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".parquet"
        pd.DataFrame({"a": [1]}).to_parquet(temporary)
        assert not path.exists()
        assert not list(path.parent.glob("table*"))
    assert pd.read_parquet(path)["a"].tolist() == [1]
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old ä")

    def fail_half_way() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text(encoding="utf-8") == "old ä"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_json_takes_numpy_numbers_and_paths_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(2), "p": Path("/a/ü")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"n": 3, "x": 0.5, "v": [0, 1], "p": "/a/ü"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    with pytest.raises(TypeError, match="has no place in JSON"):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["n"] == 3


def test_file_modes_follow_the_umask(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


WRITER = """
import sys
from pathlib import Path
from pipelines.atomic import write_json
for number in range(10**9):
    write_json(Path(sys.argv[1]), {"number": number, "filling": "x" * 300_000, "end": number})
"""


def test_killing_a_writer_at_any_moment_leaves_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    numbers = []
    for wait in (0.0, 0.003, 0.011, 0.02):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT)
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline
            assert writer.poll() is None
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        content = json.loads(path.read_bytes())
        assert content["end"] == content["number"]
        numbers.append(content["number"])
    assert max(numbers) > 0  # it was killed between writes of a loop, not before them


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    kept = [tmp_path / "a.json", tmp_path / ".lock", tmp_path / "store" / "tmp-a.npy"]
    for path in [*kept, tmp_path / ".tmp-1-ab-a.json", tmp_path / "store" / ".tmp-2-cd-x.npy"]:
        path.touch()
    assert remove_stale(tmp_path) == 2
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
