"""No byte that leaves a private domain names a patient, a file or a path: planted tokens are looked for everywhere."""

import base64
import binascii
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dicom_files import radiograph, write
from opened_survey import telling
from pydicom.config import disable_value_validation
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import FileDataset
from pydicom.fileset import FileSet
from pydicom.uid import RLELossless, generate_uid
from small_runs import SMALL

from catalogs.pseudonyms import Pseudonyms, load_secret
from catalogs.splits import half
from pipelines.cli import main
from pipelines.domains import CHEST_XRAYS, DOMAINS

TOKEN = "Zqxwvtoken"
TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")  # value representations that hold any text
RECIPE = """\
domain = "chest_xrays"

[[catalog]]
name = "hospital"
{source}
bands = ["grey"]

{labels}
"""


def planted(number: int, patient: int) -> FileDataset:
    """A radiograph with the token in every text element of the dictionary, in private ones, and in an overlay."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    stored = 400 + 300 * np.exp(-4 * (x**2 + y**2)) + (number % 2) * 150 * (y > 0.4) + rng.normal(0, 20, x.shape)
    dataset = radiograph(stored.astype(np.uint16), bits=12)
    for tag, (vr, multiplicity, *_, keyword) in DicomDictionary.items():
        group = tag >> 16
        if vr in TEXT and keyword and multiplicity == "1" and group in (0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0040):
            assert keyword_for_tag(tag) == keyword
            setattr(dataset, keyword, f"{TOKEN} {number}"[:16] if vr == "SH" else f"{TOKEN} {number}")
    dataset.PatientID = f"{TOKEN}-{patient:04d}"
    dataset.IssuerOfPatientID = f"{TOKEN} clinic"
    dataset.PatientName = f"{TOKEN}^Jane"
    dataset.StudyDate, dataset.PatientBirthDate = "19700101", "19300101"
    with disable_value_validation():  # files hold what these may not
        dataset.StudyInstanceUID = f"1.2.{TOKEN}"
        dataset.ViewPosition = f"{TOKEN} AP" if number == 2 else f"AP {TOKEN}"
        dataset.ImageLaterality = dataset.PatientSex = dataset.BurnedInAnnotation = TOKEN
    dataset.private_block(0x0009, TOKEN, create=True).add_new(1, "LO", TOKEN)
    dataset.add_new(0x60003000, "OW", TOKEN.encode())
    return dataset


def disc(folder: Path) -> None:
    """A CD of some of the files, whose records repeat what they say; one file is gone."""
    files = FileSet()
    for number in range(12):
        dataset = planted(number, number // 2)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=[dataset.PatientID])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[dataset.PatientID, "series"])
        dataset.Modality, dataset.StudyTime, dataset.InstanceNumber, dataset.SeriesNumber = "CR", "120000", number, 1
        files.add(dataset)
    files.write(folder)
    files._stage["t"].cleanup()  # else its temporary folder is told about whenever it is collected
    next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "DICOMDIR").unlink()
    (folder / TOKEN).write_text(TOKEN)


def nih(folder: Path) -> None:
    """NIH ChestX-ray14 with planted cells: what is no word of its own may stand in any but the findings."""
    (folder / "images").mkdir(parents=True)
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(12):
        name = f"{TOKEN}_{number:03d}.png"
        grey = (planted(number, 0).pixel_array // 8).clip(0, 255).astype(np.uint8)
        (folder / "images" / name).write_bytes(imagecodecs.png_encode(grey))
        told = f"{TOKEN},{TOKEN},{TOKEN}" if number % 6 == 5 else "040Y,F,PA"
        rows.append(f"{name},{('Mass', 'No Finding')[number % 2]},{TOKEN},{TOKEN}{number // 2},{told}")
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty planted files of fifteen patients, some of them broken, under planted names."""
    root = tmp_path_factory.mktemp("archive") / TOKEN
    images = root / f"{TOKEN}_images"
    images.mkdir(parents=True)
    for number in range(30):
        write(planted(number, number // 2), images / f"{TOKEN}_{number:02d}.dcm")
    whole = (images / f"{TOKEN}_00.dcm").read_bytes()
    (images / f"{TOKEN}_cut.dcm").write_bytes(whole[: len(whole) // 2])
    (images / f"{TOKEN}.{TOKEN}").write_text(f"{TOKEN} is no image")
    (images / f"{TOKEN}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + TOKEN.encode())
    strange = whole.replace(b"MONOCHROME2 ", TOKEN.upper().encode().ljust(12))
    (images / f"1.2.3.{TOKEN}").write_bytes(strange)
    broken = planted(91, 9)
    broken.compress(RLELossless)
    write(broken, images / f"{TOKEN}_rle.dcm")
    damaged = bytearray((images / f"{TOKEN}_rle.dcm").read_bytes())
    damaged[-900:-400] = b"\xff" * 500
    (images / f"{TOKEN}_rle.dcm").write_bytes(damaged)
    files = [f"{TOKEN}{n},{TOKEN}_images/{TOKEN}_{n:02d}.dcm" for n in range(30)]
    rows = [
        f"{file},{TOKEN}-{n // 2:04d},{('well', 'ill')[n % 2]},{TOKEN},PA,4{n},{TOKEN}{n % 2}"
        for n, file in enumerate(files)
    ]
    rows += [f"{TOKEN}cut,{TOKEN}_images/{TOKEN}_cut.dcm,{TOKEN}-0001,ill,{TOKEN},{TOKEN},{TOKEN},{TOKEN}"]
    rows += [f"{TOKEN}gone,{TOKEN}_images/{TOKEN}_gone.dcm,{TOKEN}-0002,ill,{TOKEN},AP,40,"]
    header = f"image_id,file,patient_id,finding,{TOKEN},view,age,site"
    (root / f"{TOKEN}.csv").write_text("\n".join([header, *rows]) + "\n")
    with zipfile.ZipFile(root / f"{TOKEN}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.comment = TOKEN.encode()
        for path in sorted(images.iterdir()):
            packed.write(path, f"{TOKEN}/{path.name}")
        packed.writestr(f"../{TOKEN}.dcm", whole)
        packed.writestr(f"{TOKEN}.zip", b"PK\3\4" + TOKEN.encode())
    disc(root / f"{TOKEN}_disc")
    nih(root / f"{TOKEN}_nih")
    notes = "\n".join(f"{TOKEN}{number},{TOKEN} note" for number in range(12))
    (root / f"{TOKEN}_more.csv").write_text(f"image_id,note\n{notes}\n")
    return root


def recipe_for(archive: Path, folder: Path, source: str, labels: str = '[labels.finding]\nkind = "classes"\n') -> Path:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(source=source.format(root=archive, token=TOKEN), labels=labels) + SMALL)
    return path


TABLE = 'table = "{root}/{token}.csv"\nimages = "{root}"'
MATCHED = TABLE + '\nmatch = [{{ table = "{root}/{token}_more.csv", columns = ["note"], by = "id" }}]'
SCAN = 'images = "{root}/{token}_images"'
ZIP = 'images = "{root}/{token}.zip"'
DISC = 'images = "{root}/{token}_disc/DICOMDIR"'
NIH = 'layout = "nih"\nimages = "{root}/{token}_nih"'


def revealed(content: bytes) -> Iterator[bytes]:
    """The bytes of a file and of all that is packed in it: base64, gzip, zlib, one in the other."""
    yield content
    for match in re.finditer(rb"[A-Za-z0-9+/]{24,}={0,2}", content):
        try:
            inner = base64.b64decode(match[0] + b"=" * (-len(match[0]) % 4))
        except binascii.Error:
            continue
        yield inner
        if inner[:2] == b"\x1f\x8b":
            yield from revealed(gzip.decompress(inner))
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content):
        try:
            yield zlib.decompressobj().decompress(content[match.start() :])
        except zlib.error:
            continue
    if content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content))
        yield table.to_pandas().to_csv().encode()
        yield str(table.schema.metadata).encode()
    if content[:2] == b"\x1f\x8b":
        yield from revealed(gzip.decompress(content))


def leaks(folder: Path) -> list[str]:
    """Files that hold the token or name it, in any case, in UTF-8 or UTF-16."""
    needles = [TOKEN.lower().encode(), TOKEN.lower().encode("utf-16-le"), TOKEN.lower().encode("utf-16-be")]
    found = [str(path) for path in folder.rglob("*") if TOKEN.lower() in path.name.lower()]
    for path in folder.rglob("*"):
        if path.is_file():
            pieces = [piece.lower() for piece in revealed(path.read_bytes())]
            if any(needle in piece for needle in needles for piece in pieces):
                found.append(str(path))
    return found


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINSSL_PRIVATE", str(tmp_path / "private"))
    return tmp_path / "private"


def test_the_search_finds_what_is_packed(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [TOKEN] * 50, "b": range(50)})
    frame.to_parquet(tmp_path / "a.parquet", compression="zstd")
    packed = base64.b64encode(gzip.compress(f"xx {TOKEN.upper()}".encode())).decode()
    (tmp_path / "b.html").write_text(f"<script>{packed}</script>")
    (tmp_path / "c.gz").write_bytes(gzip.compress(TOKEN.encode("utf-16-le")))
    (tmp_path / "d.bin").write_bytes(b"head" + zlib.compress(TOKEN.encode()))
    (tmp_path / f"{TOKEN}.txt").touch()
    (tmp_path / "clean.txt").write_text("nothing")
    assert {Path(name).name for name in leaks(tmp_path)} == {
        *("a.parquet", "b.html", "c.gz", "d.bin"),
        f"{TOKEN}.txt",
    }


@pytest.mark.parametrize("source", [MATCHED, SCAN], ids=["table", "folder"])
def test_a_whole_run_leaves_no_trace(
    archive: Path, tmp_path: Path, private: Path, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    labels = {} if source == MATCHED else {"labels": ""}
    recipe = recipe_for(archive, tmp_path, source, **labels)
    out = tmp_path / "out"
    common = ["--out", str(out / "run"), "--workers", "1", "--device", "cpu", "--debug"]
    assert main(["run", str(recipe), "--dry-run", *common[:2]]) == 0
    assert main(["run", str(recipe), *common]) == 0
    applied = ["apply", str(out / "run"), str(archive / f"{TOKEN}_images"), "--workers", "1", "--debug"]
    assert main(applied) == 0
    assert main(["report", str(recipe), *common, "--share"]) == 0
    said = "".join(capfd.readouterr())
    assert TOKEN.lower() not in said.lower()
    assert leaks(out) == []
    assert (out / "run" / "model_card.md").stat().st_size > 1000  # so it was searched
    assert len(list(out.rglob("model_card.md"))) == 1

    catalog = pd.read_parquet(out / "run" / "catalog.parquet")
    assert catalog["object_id"].str.fullmatch(r"img-[a-z2-7]{16}").all()
    assert catalog["group"].str.fullmatch(r"pat-[a-z2-7]{16}").all()
    quarantine = pd.read_csv(out / "run" / "quarantine.csv")
    assert set(quarantine["reason"]) <= {
        *("missing", "no_pixels", "not_dicom", "undecodable", "bad_header", "colour", "view"),
    }
    assert len(quarantine) == (2 if source == MATCHED else 6)
    assert len(catalog) == (32 if source == MATCHED else 35)
    names = Pseudonyms(load_secret(private))
    issuer = "" if source == MATCHED else f"{TOKEN} clinic"
    for patient in range(15):
        rows = catalog[catalog["group"] == names.of("pat", issuer, f"{TOKEN}-{patient:04d}")]
        assert len(rows) >= 2
        assert set(rows["half"]) == {half(f"{TOKEN}-{patient:04d}")}  # of the raw id: the same on every machine
    if source == MATCHED:
        assert {"finding", "view", "age", "site"} < set(catalog.columns)
        assert set(catalog["view"]) == {"PA", "AP", "OTHER"}
        assert catalog["age"].isna().sum() == 1
        assert catalog["site"].dropna().str.fullmatch(r"site-[a-z2-7]{16}").all()
        assert catalog["site"].nunique() == 3
    sources = list((private / "sources").iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in sources)
    linked = pd.read_csv(sources[0])
    assert linked["file"].str.contains(TOKEN).all()


@pytest.mark.parametrize(
    ("source", "rows", "refused"),
    [
        (
            ZIP,
            37,
            {
                "not_dicom": 1,
                "undecodable": 2,
                "bad_header": 1,
                "view": 1,
                "unsafe_name": 1,
                "archive": 1,
                "no_pixels": 1,
            },
        ),
        (DISC, 12, {"missing": 1, "view": 1}),
        (NIH, 12, {}),
    ],
    ids=["zip", "DICOMDIR", "layout"],
)
def test_other_sources_leave_no_trace(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, rows: int, refused: dict[str, int]
) -> None:
    recipe = recipe_for(archive, tmp_path, source, labels='[labels.Mass]\nkind = "yes_no"\n' if source == NIH else "")
    out = tmp_path / "out"
    assert main(["prepare", str(recipe), "--out", str(out / "run"), "--workers", "1", "--debug"]) == 0
    said = "".join(capfd.readouterr())
    assert TOKEN.lower() not in said.lower()
    assert leaks(out) == []
    catalog = pd.read_parquet(out / "run" / "catalog.parquet")
    assert len(catalog) == rows
    assert catalog["group"].str.fullmatch(r"pat-[a-z2-7]{16}").all()
    quarantine = pd.read_csv(out / "run" / "quarantine.csv")
    assert quarantine["reason"].value_counts().to_dict() == refused


@pytest.mark.slow
def test_an_evaluation_leaves_no_trace(archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_for(archive, tmp_path, MATCHED)
    out = tmp_path / "out"
    common = ["--workers", "1", "--device", "cpu", "--debug"]
    starts = 'classify.starts=["random","scratch","continued"]'
    assert main(["evaluate", str(recipe), "--out", str(out), "--set", starts, *common]) == 0
    sweep = ["--sweep", "pretrain.temperature=0.1,0.2"]
    assert main(["evaluate", str(recipe), "--out", str(out / "sweep"), *sweep, *common]) == 0
    said = "".join(capfd.readouterr())
    assert TOKEN.lower() not in said.lower()
    assert leaks(out) == []


@pytest.mark.parametrize("kept", [False, True], ids=["survey opened", "survey and columns opened"])
def test_the_search_finds_one_tag_too_many(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """What the tests above look for is found where the allow-list lets one tag through; it takes both of its halves."""
    words = tuple(f"{TOKEN} {number}" for number in range(30))
    columns = {**CHEST_XRAYS.kept, "institution": words} if kept else CHEST_XRAYS.kept
    monkeypatch.setitem(DOMAINS, "chest_xrays", replace(CHEST_XRAYS, survey=telling, kept=columns))
    recipe = recipe_for(archive, tmp_path, SCAN, labels="")
    out = tmp_path / "out"
    assert main(["prepare", str(recipe), "--out", str(out), "--workers", "1", "--quiet"]) == 0
    assert {Path(path).name for path in leaks(out)} == ({"catalog.parquet"} if kept else set())


ERRORS = {
    "no such finding": (
        NIH,
        "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n{t}.png,{t},{t},040Y,F,PA\n",
    ),
    "no zip": (ZIP, None),
    "no table": (TABLE.replace("{token}.csv", "{token}_nope.csv"), None),
    "no folder": ('images = "{root}/{token}_nope"', None),
    "empty folder": ('images = "{root}/{token}_empty"', None),
    "double ids": (TABLE, "image_id,file,patient_id,finding\n{t},{t}.dcm,{t}1,a\n{t},{t}.dcm,{t}1,b\n"),
    "float ids": (TABLE, "image_id,file,patient_id,finding\n1.0,{t}.dcm,{t}1,a\n2.5,{t}.dcm,{t}1,b\n"),
    "no header": (TABLE, "{t},{t}.dcm,{t}1,a\n{t},{t}.dcm,{t}1,b\n"),
    "no label": (TABLE, "image_id,file,patient_id,{t}\n1,{t}.dcm,{t}1,a\n"),
    "empty label": (TABLE, "image_id,file,patient_id,finding\n1,{t}.dcm,{t}1,\n"),
    "long row": (TABLE, "image_id,file\n1,{t}.dcm,{t},{t}\n"),
    "bad split": (TABLE, "image_id,file,patient_id,finding,split\n1,{t}.dcm,{t}1,a,{t}\n"),
    "leaking split": (
        TABLE,
        "image_id,file,patient_id,finding,split\n1,{t}.dcm,{t}1,a,train\n2,{t}.dcm,{t}1,b,test\n",
    ),
    "bad number": (TABLE, "image_id,file,patient_id,finding,ra\n1,{t}.dcm,{t}1,a,{t}\n"),
    "nothing readable": (TABLE, "image_id,file,patient_id,finding\n1,{t}.dcm,{t}1,a\n2,{t}.dcm,{t}2,b\n"),
    "empty table": (TABLE, ""),
    "only a header": (TABLE, "image_id,file,patient_id,finding\n"),
    "not UTF-8": (TABLE, "image_id,file\n\udcff,{t}\n"),
    "bad pattern": ('table = "{root}/{token}.csv"\nfile_pattern = "{token}_{{nope}}.dcm"', "image_id,finding\n1,a\n"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_leave_no_trace(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, table = ERRORS[case]
    root = tmp_path / TOKEN
    (root / f"{TOKEN}_empty").mkdir(parents=True)
    if table is not None:
        text = table.replace("{t}", TOKEN)
        (root / f"{TOKEN}.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        (root / f"{TOKEN}_nih").mkdir()
        (root / f"{TOKEN}_nih" / "Data_Entry_2017.csv").write_bytes((root / f"{TOKEN}.csv").read_bytes())
    recipe = recipe_for(root, tmp_path, source)
    out = tmp_path / "out"
    for arguments in (
        ["run", str(recipe), "--out", str(out), "--workers", "1"],
        ["run", str(recipe), "--out", str(out), "--workers", "1", "--debug"],
        ["run", str(recipe), "--out", str(out / "dry"), "--dry-run", "--debug"],
    ):
        code = main(arguments)
        captured = capfd.readouterr()
        said = captured.out + captured.err
        assert code in (1, 2) or ("--dry-run" in arguments and code == 0)
        assert TOKEN.lower() not in said.lower(), said
        if "--debug" not in arguments:
            assert captured.err.splitlines()[-1].startswith("domainssl: error: ")
    if out.exists():
        assert leaks(out) == []


def failing(error: Exception, *_: object) -> None:
    raise error


def test_a_fault_of_our_own_leaves_no_trace(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(archive, tmp_path, TABLE)
    for error, told in (
        (KeyError(f"{TOKEN} in a message of another library"), "KeyError at pipelines/prepare.py:"),
        (PermissionError(13, f"{TOKEN} in what should be the system's words"), "(Permission denied)"),
    ):
        monkeypatch.setattr("pipelines.prepare.assign_halves", partial(failing, error))
        assert main(["prepare", str(recipe), "--out", str(tmp_path / "out"), "--debug"]) == 1
        said = "".join(capfd.readouterr())
        assert told in said
        assert TOKEN.lower() not in said.lower()


def test_inspect_leaves_no_trace(archive: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["inspect", str(archive / f"{TOKEN}_images"), "--kind", "chest_xrays", "--json"],
        ["inspect", str(archive), "--kind", "chest_xrays"],
        ["inspect", str(archive / f"{TOKEN}_images" / f"{TOKEN}_cut.dcm"), "--kind", "chest_xrays"],
        ["inspect", str(archive / f"{TOKEN}_nope"), "--kind", "chest_xrays", "--debug"],
        ["inspect", str(archive / f"{TOKEN}.zip"), "--kind", "chest_xrays"],
    ):
        code = main([*arguments, "--workers", "1"])
        captured = capfd.readouterr()
        assert code == (1 if "--debug" in arguments else 0)
        assert TOKEN.lower() not in (captured.out + captured.err).lower()
        if "--json" in arguments:
            found = json.loads(captured.out)
            assert found["readable"] == 30
            assert found["tried"] == 35


def test_the_secret_never_lies_in_a_run(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("DOMAINSSL_PRIVATE", str(out / "private"))
    recipe = recipe_for(archive, tmp_path, TABLE)
    assert main(["prepare", str(recipe), "--out", str(out)]) == 1
    assert "set DOMAINSSL_PRIVATE" in capfd.readouterr().err
    assert not (out / "private").exists()
