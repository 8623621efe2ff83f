"""Run folders: what is a run, which steps are done, one process at a time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipelines.run_folder import NotARunError, RunFolder, RunFolderError, environment, fingerprint, step_key

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path / "runs" / "x", create=True)


def test_a_run_is_made_once_and_opened_again(run: RunFolder) -> None:
    run.update(seed=3)
    again = RunFolder.open(run.folder, create=True)
    assert again == run
    assert again.read_manifest()["seed"] == 3
    assert RunFolder.open(run.folder, create=False) == run


def test_what_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match=r"no run at .*; `domainssl run RECIPE --out .*` makes one"):
        RunFolder.open(tmp_path / "absent", create=False)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotARunError, match=r"holds other files and no manifest\.json"):
        RunFolder.open(tmp_path, create=True)
    with pytest.raises(NotARunError, match="is a file"):
        RunFolder.open(tmp_path / "thesis.tex", create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_and_one_left_by_a_killed_process_become_a_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".tmp-1-ab-manifest.json").write_text('{"st')
    run = RunFolder.open(tmp_path, create=True)
    with run.locked():
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "manifest.json"]


@pytest.mark.parametrize("content", ["", '{"steps": ', "[]", "{}", '{"steps": 3}'])
def test_a_damaged_manifest_is_an_error_of_one_line(run: RunFolder, content: str) -> None:
    run.manifest.write_text(content)
    with pytest.raises(RunFolderError, match=r"manifest\.json is .*; start another run") as caught:
        RunFolder.open(run.folder, create=True)
    assert "\n" not in str(caught.value)


def test_sections_are_merged_or_replaced(run: RunFolder) -> None:
    run.update(precision={"embed": "bf16"}, seed=1)
    run.update(precision={"pretrain": "fp32"}, seed=2)
    manifest = run.read_manifest()
    assert manifest["precision"] == {"embed": "bf16", "pretrain": "fp32"}
    assert manifest["seed"] == 2


def test_a_step_is_done_under_its_key_while_its_outputs_are_whole(run: RunFolder) -> None:
    run.store.mkdir()
    (run.store / "a.npy").write_bytes(b"1234")
    run.catalog.write_bytes(b"12")
    assert not run.is_done("prepare", "k")
    run.begin("prepare", "k")
    assert not run.is_done("prepare", "k")
    run.mark_done("prepare", "k", [run.store, run.catalog], rows=7)
    assert run.is_done("prepare", "k")
    assert not run.is_done("prepare", "other")
    assert run.record("prepare")["rows"] == 7
    assert run.record("prepare")["outputs"] == {"store": [1, 4], "catalog.parquet": 2}

    run.catalog.write_bytes(b"1")
    assert not run.is_done("prepare", "k")
    run.catalog.write_bytes(b"12")
    assert run.is_done("prepare", "k")
    (run.store / "a.npy").unlink()
    assert not run.is_done("prepare", "k")
    (run.store / "a.npy").write_bytes(b"1234")
    run.begin("prepare", "k")
    assert not run.is_done("prepare", "k")


def test_each_time_a_step_is_done_it_gets_another_token_and_can_be_forgotten(run: RunFolder) -> None:
    run.mark_done("rank", "k", [])
    first = run.record("rank")["made"]
    run.mark_done("rank", "k", [])
    assert run.record("rank")["made"] != first
    run.invalidate("rank")
    run.invalidate("rank")
    assert run.record("rank") == {}
    assert not run.is_done("rank", "k")


def test_a_step_cannot_claim_what_it_did_not_write(run: RunFolder) -> None:
    with pytest.raises(ValueError, match=r"rank says it wrote .*anomalies\.csv, which is not there"):
        run.mark_done("rank", "k", [run.anomalies])
    assert not run.is_done("rank", "k")


HOLDER = """
import sys, time
from pathlib import Path
from pipelines.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1]), create=False).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_used_by_one_process_and_free_again_when_that_is_killed(run: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError) as caught, run.locked():
            pass
        expected = f"{run.folder} is in use by process {holder.pid}; wait until it ends, or give another --out"
        assert str(caught.value) == expected
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with run.locked():
        assert (run.folder / ".lock").read_text() == f"{os.getpid()}\n"


parts = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False)), max_size=4)


@given(parts, st.lists(st.text(), max_size=3), st.dictionaries(st.text(), st.text(), max_size=3))
def test_keys_do_not_depend_on_the_order_of_mappings_but_on_everything_else(
    part: dict[str, object], upstream: list[str], inputs: dict[str, str]
) -> None:
    key = step_key(part, upstream, inputs)
    assert len(key) == 64
    assert key == step_key(dict(reversed(part.items())), tuple(upstream), dict(reversed(inputs.items())))
    assert key != step_key({**part, "new": 1}, upstream, inputs)
    assert key != step_key(part, [*upstream, "a"], inputs)
    assert key != step_key(part, upstream, {**inputs, "new": "a"})


def test_fingerprints(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert fingerprint(table) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    folder = fingerprint(tmp_path)
    assert folder == fingerprint(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"")
    assert fingerprint(tmp_path) != folder


def test_the_environment_is_told_without_importing_it() -> None:
    script = (
        "import json, sys; from pipelines.run_folder import environment; found = environment();"
        "print(json.dumps([found, [name for name in ('torch', 'timm', 'pandas', 'umap') if name in sys.modules]]))"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found, imported = json.loads(output)
    assert imported == []
    assert found == json.loads(json.dumps(environment()))
    import numpy as np

    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["torch"]
    assert found["versions"]["python"].startswith("3.")
    assert len(found["code"]) == 64
