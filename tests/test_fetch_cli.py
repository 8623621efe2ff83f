"""`domainssl fetch` as a user meets it."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fetch_server import hdf5, put, serving

from catalogs.fetch.collections import COLLECTIONS
from pipelines import fetching
from pipelines.cli import main

ROOT = Path(__file__).resolve().parent.parent


def test_without_a_name_the_collections_are_listed(capsys):
    assert main(["fetch"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(fetching.collection_names())
    assert main(["fetch", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(fetching.collection_names())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["galaxy10_decal", "--out", "o"], "did you mean 'galaxy10_decals'"),
        (["nothing", "--out", "o"], "legacy_cutouts"),
        (["galaxy10_decals"], "--out"),
        (["legacy_cutouts", "--out", "o"], "--positions"),
        (["galaxy10_decals", "--out", "o", "--positions", "p.csv"], "--positions is for legacy_cutouts"),
        (["galaxy10_decals", "--out", "o", "--bands", "grz"], "--bands is for legacy_cutouts"),
        (["galaxy10_decals", "--out", "o", "--mirror", "x"], "mirror 'x'"),
        (["galaxy10_decals", "--out", "o", "--limit", "0"], "--limit"),
        (["galaxy10_decals", "--ot", "o"], "--out"),
    ],
)
def test_wrong_use_is_one_line_and_2(capsys, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_come_and_does_nothing(capsys, tmp_path):
    command = ["fetch", "galaxy10-decals", "--out", str(tmp_path / "o"), "--dry-run"]
    assert main(command) == 0
    assert "fetch  Galaxy10_DECals.h5  2.7 GB" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == {"Galaxy10_DECals.h5": 2735267419}
    table = tmp_path / "p.csv"
    table.write_text("ra,dec\n1,2\n3,4\n")
    assert main(["fetch", "legacy_cutouts", "--out", str(tmp_path / "o"), "--positions", str(table), "--dry-run"]) == 0
    assert "2 cutouts" in capsys.readouterr().out
    assert not (tmp_path / "o").exists()


def test_a_collection_comes_with_its_terms_and_the_path_of_its_recipe(capsys, monkeypatch, tmp_path):
    with serving() as server:
        put(monkeypatch, server, "galaxy10_sdss", {"Galaxy10.h5": hdf5("ans", 20, 10, 16)})
        assert main(["fetch", "galaxy10_sdss", "--out", str(tmp_path), "--mirror", server.url]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "recipe.toml")
    collection = COLLECTIONS["galaxy10_sdss"]
    assert all(text in err for text in (collection.homepage, collection.licence, *collection.citation))


def test_without_connection_one_line_says_what_to_do_by_hand(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("catalogs.fetch.download.time.sleep", lambda seconds: None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main(["fetch", "galaxy10_sdss", "--out", str(tmp_path), "--mirror", url, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "no connection to 127.0.0.1: " in err
    assert f"fetch the file by hand from {url}/Galaxy10.h5 and put it to {tmp_path / 'Galaxy10.h5'}" in err


def test_help_and_the_list_import_no_network_and_nothing_heavy():
    script = (
        "import sys; from pipelines.cli import main; heavy = ('torch', 'requests', 'pooch', 'h5py', 'pandas');"
        "main(['fetch', '--help']); print(*(name for name in heavy if name in sys.modules));"
        "main(['fetch']); print(*(name for name in heavy if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    *_, last = done.stdout.splitlines()
    helped = done.stdout.splitlines()[-len(fetching.collection_names()) - 2]
    assert helped == "", done.stderr
    assert last == "pandas"
