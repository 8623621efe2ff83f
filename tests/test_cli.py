"""The command line as a user meets it: exit codes, one-line errors, where output goes, what is imported."""

import json
import os
import signal
import subprocess
import sys
import termios
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import COMMANDS, main
from pipelines.progress import Lines, Quiet
from pipelines.run_folder import RunFolder
from pipelines.steps import FILES, STEPS, Context, StepResult

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "timm", "sklearn", "umap", "matplotlib", "galsim")

RECIPE = """
domain = "galaxies"
[[catalog]]
name = "survey"
table = "labels.csv"
images = "images"
bands = ["g"]
[labels.label]
kind = "classes"
[encoder]
size = 64
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("id,file,label\na,a.fits,x\nb,b.fits,y\n")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def fake_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STEPS:

        def run(context: Context, name: str = name) -> StepResult:
            files = [getattr(context.run, attribute) for attribute in FILES[name]]
            for file in files:
                file.mkdir() if not file.suffix else file.write_text(name)
            return StepResult(tuple(files))

        monkeypatch.setitem(STEPS, name, run)


def domainssl(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def imported_by(*arguments: str | Path) -> tuple[int, list[str]]:
    """The exit code of a command, and which heavy packages it imported."""
    script = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]);"
        f"sys.stderr.write('\\nimported ' + ' '.join(name for name in {HEAVY!r} if name in sys.modules));"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    *_, last = done.stderr.splitlines()
    assert last.startswith("imported"), done.stderr
    return done.returncode, last.split()[1:]


def test_light_commands_import_nothing_heavy(tmp_path: Path, recipe: Path) -> None:
    from astropy.io import fits

    fits.writeto(tmp_path / "a.fits", np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32))
    assert imported_by("--help") == (0, [])
    assert imported_by("run", "--help") == (0, [])
    assert imported_by("recipe", "galaxies") == (0, [])
    assert imported_by("inspect", tmp_path / "a.fits", "--kind", "galaxies") == (0, [])
    assert imported_by("run", recipe, "--out", tmp_path / "run", "--set", "pretrain.epoch=3") == (2, [])
    assert imported_by("run", tmp_path / "none.toml", "--out", tmp_path / "run") == (2, [])
    assert imported_by("embed", recipe, "--out", tmp_path / "run") == (2, [])


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = f"import pipelines, sys; print([n for n in (*{HEAVY!r}, 'pandas', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command} " in text
        assert main([command, "--help"]) == 0
        assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize("domain", ["galaxies", "chest", "chest_xrays"])
def test_recipe_prints_valid_toml_that_says_how_to_run_it(domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", domain]) == 0
    text = capsys.readouterr().out
    assert "domainssl run recipe.toml --out runs/" in text
    assert main(["recipe", domain, "--quick"]) == 0
    quick = tomllib.loads(capsys.readouterr().out)
    assert quick["pretrain"]["epochs"] < 10
    assert quick["classify"]["heads"] == ["linear"]
    assert quick["encoder"]["size"] < tomllib.loads(text)["encoder"]["size"]
    assert main(["recipe", domain, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["runn"], "unknown command 'runn'; did you mean 'run'?; `domainssl --help` says more"),
        (["--quiet", "rport"], "unknown command 'rport'; did you mean 'report'?; `domainssl --help` says more"),
        ([], "the following arguments are required: COMMAND; `domainssl --help` says more"),
        (["run"], "the following arguments are required: RECIPE, --out; `domainssl run --help` says more"),
        (["run", "r", "--ot", "x"], "unknown option --ot; did you mean '--out'?; `domainssl run --help` says more"),
        (
            ["run", "r", "--out=x", "--worker=3"],
            "unknown option --worker; did you mean '--workers'?; `domainssl run --help` says more",
        ),
        (
            ["recipe", "galaxes"],
            "domain: 'galaxes' is not known; did you mean 'galaxies'?; `domainssl recipe --help` says more",
        ),
        (
            ["embed", "r", "--out", "x", "--device", "gpu"],
            "--device: 'gpu' is not known; did you mean 'cpu'?; `domainssl embed --help` says more",
        ),
        (
            ["embed", "r", "--out", "x", "--workers", "0"],
            "argument --workers: '0' is not a whole number from 1 up; `domainssl embed --help` says more",
        ),
        (["embed", "r", "--out", "x", "y"], "unrecognized arguments: y; `domainssl --help` says more"),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == f"domainssl: error: {line}\n"
    assert captured.out == ""


def test_each_problem_of_a_recipe_is_one_line_and_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recipe.parent / "run"
    assert main(["run", str(recipe), "--out", str(out), "--set", "pretrain.epoch=3", "--set", "seed=x"]) == 2
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "domainssl: error: pretrain.epoch: unknown key; did you mean 'epochs'?",
        "domainssl: error: seed: 'x' is not a whole number",
    ]
    (recipe.parent / "labels.csv").unlink()
    assert main(["run", str(recipe), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("domainssl: error: catalog.0.table: no file or folder at ")
    assert not out.exists()


def test_what_is_no_run_is_wrong_usage(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe), "--out", str(recipe.parent)]) == 2
    assert "holds other files and no manifest.json, so it is no run; give another --out" in capsys.readouterr().err
    assert main(["rank", str(recipe), "--out", str(recipe.parent / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"domainssl: error: no run at {recipe.parent / 'none'}; `domainssl run")


@pytest.mark.usefixtures("fake_steps")
def test_a_run_prints_its_report_and_says_what_it_does_on_stderr(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe.parent / "run"
    command = ["run", str(recipe), "--out", str(run), "--device", "cpu"]
    assert main(command) == 0
    first = capsys.readouterr()
    assert first.out == f"{run / 'report.html'}\n"
    assert first.err.splitlines()[:2] == ["prepare: started", "prepare: done in 0.0 s"]

    assert main(command) == 0
    assert capsys.readouterr().err.splitlines() == [f"{name}: done before, skipped" for name in STEPS]

    assert main([*command, "--set", "pretrain.epochs=0", "--quiet", "--json"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert json.loads(quiet.out) == {
        "run": str(run),
        "steps": {"prepare": "done before", "pretrain": "needless", **dict.fromkeys(list(STEPS)[2:], "done")},
        "result": str(run / "report.html"),
    }

    assert main(["rank", str(recipe), "--out", str(run), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith(
        "domainssl: error: rank: the step pretrain before it has not been done under this recipe; `domainssl pretrain"
    )


@pytest.mark.usefixtures("fake_steps")
def test_a_step_that_fails_is_one_line_and_1_and_a_traceback_only_if_asked_for(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(context: Context) -> StepResult:
        raise ValueError("psf_fwhm_px of galaxy 7 is -3;\n  give a positive number")

    monkeypatch.setitem(STEPS, "pretrain", fails)
    command = ["run", str(recipe), "--out", str(recipe.parent / "run"), "--device", "cpu", "--quiet"]
    assert main(command) == 1
    line = "domainssl: error: pretrain: psf_fwhm_px of galaxy 7 is -3; give a positive number\n"
    assert capsys.readouterr().err == line
    assert main([*command, "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith(line)


@pytest.mark.usefixtures("fake_steps")
def test_a_run_in_use_is_1(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.open(recipe.parent / "run", create=True)
    with run.locked():
        assert main(["run", str(recipe), "--out", str(run.folder), "--device", "cpu"]) == 1
    assert f"{run.folder} is in use by process {os.getpid()}; wait" in capsys.readouterr().err


def test_a_damaged_manifest_is_1(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "run").mkdir()
    (recipe.parent / "run" / "manifest.json").write_text("{")
    assert main(["run", str(recipe), "--out", str(recipe.parent / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


STOPPED = """
import signal, sys, time
from pipelines.cli import main
from pipelines.steps import STEPS
def wait(context):
    print("waiting", flush=True)
    time.sleep(60)
STEPS["prepare"] = wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
sys.exit(main(sys.argv[1:]))
"""


def test_control_c_is_130_and_one_line(recipe: Path) -> None:
    out = recipe.parent / "run"
    command = [sys.executable, "-c", STOPPED, "run", str(recipe), "--out", str(out), "--device", "cpu", "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "stopped; run the same command again to go on\n"
    assert RunFolder.open(out, create=False).record("prepare").keys() == {"key", "started"}


def test_dry_run_counts_and_estimates_and_writes_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recipe.parent / "run"
    command = ["run", str(recipe), "--out", str(out), "--dry-run", "--device", "cpu"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "catalog survey: 2 rows"
    assert text.count("would be done; not measured yet") == len(STEPS)
    assert not out.exists()
    out.mkdir()

    assert main([*command, "--json", "--set", "pretrain.epochs=0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == {"survey": 2}
    assert found["bytes"]["store"] == 2 * 128 * 128 * 2  # rows, pixels, float16
    assert found["bytes"]["embeddings"] == 2 * (1280 * 2 + 40)  # lite0 has 1280 features
    assert found["steps"]["pretrain"] == "not needed, pretrain.epochs is 0"
    assert set(found["seconds_last_time"].values()) == {None}

    assert main([*command, "--set", "encoder.name=resnet1"]) == 2
    assert "timm has no model 'resnet1'; did you mean 'resnet18'?" in capsys.readouterr().err
    assert main([*command, "--set", "catalog.0.columns.group=tile"]) == 1
    assert "domainssl: error: prepare: catalog 'survey': " in capsys.readouterr().err


@pytest.mark.usefixtures("fake_steps")
def test_dry_run_of_a_finished_run_gives_measured_times(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(recipe), "--out", str(recipe.parent / "run"), "--device", "cpu"]
    assert main(command) == 0
    before = (recipe.parent / "run" / "manifest.json").read_bytes()
    capsys.readouterr()
    assert main([*command, "--dry-run", "--set", "rank.neighbours=3"]) == 0
    text = capsys.readouterr().out
    assert "prepare: done before, would be skipped; took 0.00 hours last time here" in text
    assert "rank: was done under another recipe" in text
    assert (recipe.parent / "run" / "manifest.json").read_bytes() == before


def test_inspect_says_what_is_read_and_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from astropy.io import fits

    rng = np.random.default_rng(0)
    fits.writeto(tmp_path / "good.fits", rng.normal(size=(3, 40, 40)).astype(np.float32))
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE")
    assert main(["inspect", str(tmp_path), "--kind", "galaxies"]) == 0
    assert "1 of 2 files read" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--kind", "galaxies", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tried"], found["readable"], found["shapes"]) == (2, 1, {"3 x 40 x 40": 1})
    assert main(["inspect", str(tmp_path / "none"), "--kind", "chest_xrays"]) == 1
    assert "no such file or folder" in capsys.readouterr().err


def test_python_m_and_a_closed_pipe() -> None:
    done = domainssl("recipe", "galaxies")
    assert done.returncode == 0
    assert done.stderr == ""
    piped = subprocess.run(
        f"{sys.executable} -m pipelines recipe galaxies | head -1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert piped.stdout == done.stdout.splitlines(keepends=True)[0]
    assert piped.stderr == ""


BARS = """
from pipelines.progress import Lines
progress = Lines()
progress.note("embed: started")
with progress.counter("embed", 10) as counter:
    counter.show("loss 1.25")
    counter.advance(4)
for _ in progress.track(range(3), "read"):
    pass
"""


def test_progress_is_bars_on_a_terminal() -> None:
    parent, child = os.openpty()
    termios.tcsetwinsize(child, (24, 80))
    done = subprocess.run([sys.executable, "-c", BARS], cwd=ROOT, stdout=subprocess.PIPE, stderr=child, check=True)
    os.close(child)
    shown = ""
    with suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(parent, 65536):
            shown += part.decode()
    os.close(parent)
    assert done.stdout == b""
    assert "embed: started" in shown
    assert "0/10" in shown
    assert "0/3" in shown


def test_progress_goes_to_stderr_in_lines_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Lines(every=0.0)
    progress.note("embed: started")
    with progress.counter("embed", 3000) as counter:
        counter.show("loss 1.25")
        counter.advance(1500)
    assert list(progress.track(["a", "b"], "read")) == ["a", "b"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "embed: started",
        "embed: 1,500 of 3,000, loss 1.25",
        "read: 1 of 2",
        "read: 2 of 2",
    ]
    quiet = Quiet()
    quiet.note("x")
    with quiet.counter("embed") as counter:
        counter.advance()
        counter.show("x")
    assert list(quiet.track(iter("ab"), "read")) == ["a", "b"]
    assert capsys.readouterr().err == ""
