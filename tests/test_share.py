"""The page to hand out: no person, picture, id or token in it, in words or packed; small counts and old ages hidden."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from PIL import Image
from pydicom.dataset import FileDataset
from small_runs import SMALL
from test_page_browser import HOSTILE, browser  # noqa: F401  # the fixture
from test_privacy import TOKEN, revealed

from domainssl.evaluation.retrieval import Retrieval
from pipelines.cli import main
from pipelines.findings import retrieval_sentence
from pipelines.share import _guard, _trouble_sentences
from reports.shared import Counted, SharedPage, write_shared
from reports.shared_rows import NOT_ESTIMABLE, shared_rows
from reports.suppression import NOT_SMALL
from reports.suppression import SMALL as FEW

PATIENTS, NO_IMAGES, CUT = 60, 14, 3
RECIPE = """\
domain = "chest_xrays"

[[catalog]]
name = "{token} hospital"
table = "{root}/{token}.csv"
images = "{root}"
bands = ["grey"]

[labels.finding]
kind = "classes"

[labels.age]
kind = "ordered"
"""
PSEUDONYM = re.compile(rb"\b(img|pat|stu|site|source)-[a-z2-7]{16}\b")
PICTURE = re.compile(rb"data:image|<img|<image|<canvas|webp")
HASH = re.compile(rb"\b[0-9a-f]{16,}\b")
RUN = ["--workers", "1", "--device", "cpu", "--quiet"]


def image(number: int, patient: int) -> FileDataset:
    """A small radiograph that says whose it is, with something at its foot where the finding is "ill"."""
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    noise = np.random.default_rng(number).normal(0, 20, x.shape)
    dataset = radiograph((400 + 300 * np.exp(-4 * (x**2 + y**2)) + number % 2 * 150 * (y > 0.4) + noise).astype("u2"))
    dataset.PatientID, dataset.PatientName, dataset.StudyDescription = f"{TOKEN}-{patient}", f"{TOKEN}^Jane", TOKEN
    return dataset


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, private_folder: Path) -> Path:
    """A run of planted radiographs, two a patient, whose report was shared; one finding is of two patients."""
    folder = tmp_path_factory.mktemp("share")
    root, run = folder / TOKEN, folder / "run"
    root.mkdir()
    rows = [f"image_id,file,patient_id,finding,age,view,site,{TOKEN}"]
    for number in range(2 * PATIENTS):
        patient = number // 2
        finding = f"{TOKEN} rare" if number < 4 else ("well", "ill")[number % 2]
        write(image(number, patient), root / f"{number}.dcm")
        age = (60, 91, 95)[patient % 3]
        rows.append(f"{TOKEN}{number},{number}.dcm,{TOKEN}-{patient},{finding},{age},PA,{TOKEN}{patient % 2},{TOKEN}")
    whole = (root / "0.dcm").read_bytes()
    for number in range(NO_IMAGES):
        (root / f"note{number}.dcm").write_text(f"{TOKEN} is no image")
        rows.append(f"{TOKEN}n{number},note{number}.dcm,{TOKEN}-n{number},well,60,PA,{TOKEN}0,{TOKEN}")
    for number in range(CUT):
        (root / f"cut{number}.dcm").write_bytes(whole[:-900])
        rows.append(f"{TOKEN}c{number},cut{number}.dcm,{TOKEN}-c,well,60,PA,{TOKEN}0,{TOKEN}")
    (root / f"{TOKEN}.csv").write_text("\n".join(rows) + "\n")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(root=root, token=TOKEN) + SMALL)
    assert main(["run", str(recipe), "--out", str(run), *RUN]) == 0
    before = {path for path in run.rglob("*") if path.is_file()}
    assert main(["report", str(recipe), "--out", str(run), "--share", *RUN]) == 0
    assert {path for path in run.rglob("*") if path.is_file()} - before == {run / "shared.html"}
    return run / "shared.html"


def found_in(path: Path, wanted: "re.Pattern[bytes]") -> set[bytes]:
    return {match.group() for piece in revealed(path.read_bytes()) for match in wanted.finditer(piece)}


def test_nothing_of_one_person_is_in_it(shared: Path) -> None:
    catalog = pd.read_parquet(shared.parent / "catalog.parquet")
    ids = [*catalog["object_id"], *catalog["group"]]
    assert all(re.fullmatch(PSEUDONYM, name.encode()) for name in ids)
    assert len(found_in(shared.parent / "report.html", PSEUDONYM)) > PATIENTS  # so the search does find them
    assert found_in(shared.parent / "report.html", PICTURE)
    token = re.compile(TOKEN.encode(), re.IGNORECASE)
    assert found_in(shared.parent / "report.html", token)  # the catalog's name, which the user chose
    for wanted in (PSEUDONYM, PICTURE, HASH, token, re.compile(rb"<script|javascript|onclick|http-equiv=.refresh")):
        assert found_in(shared, wanted) == set(), wanted


def test_it_says_first_what_it_is(shared: Path) -> None:
    text = shared.read_text()
    body = text[text.index("<main>") :]
    assert body.index("What this page is") < body.index("Left out") < body.index("is no proof of anonymity")
    assert body.index("is no proof of anonymity") < body.index("Findings")
    assert "not a medical device" in text
    assert "Contains pseudonymised" not in text
    assert "Contains pseudonymised" in (shared.parent / "report.html").read_text()
    assert "embeddings are personal data" in text or "treated as personal data" in text
    assert "<svg" in text


def test_small_counts_and_rare_classes_and_ages_are_hidden(shared: Path) -> None:
    text = shared.read_text()
    refused = pd.read_csv(shared.parent / "quarantine.csv")["reason"].value_counts()
    assert sorted(refused) == [CUT, NO_IMAGES]
    section = text[text.index('id="left-out"') : text.index('id="provenance"')]
    cells = re.findall(r'<td class="number">(.*?)</td>', section)
    # 17 in all: less than 10 + 8, so the one of 3 could be told from the total
    assert cells == [NOT_SMALL, FEW.replace("<", "&lt;")]
    assert f"{2 * PATIENTS} images were used; left out: {NOT_SMALL}." in section
    assert not re.search(r">\s*9[1-9]\s*<", text[text.index('id="few-labels"') :])
    assert "rare" not in text[text.index('id="few-labels"') :]


def test_the_card_is_shared_without_what_tells_of_few(shared: Path) -> None:
    text, own = shared.read_text(), (shared.parent / "model_card.md").read_text()
    section = text[text.index('<section id="model-card"') :]
    for heading in ("Data", "Labels", "Encoder and weights", "Limits"):
        assert f"<h3>{heading}</h3>" in section
    assert f"{2 * PATIENTS} images from 1 catalog" in section
    assert "hospital" not in section
    assert "How far to trust" not in section
    counts = re.findall(
        r'<td class="number">([\d,]+)</td>', section[section.index("How often each answer") :].split("</table>")[0]
    )
    assert all(int(count) >= 10 for count in counts)
    assert "| finding |" in own  # at home, rare answers are named, and their numbers hidden
    assert re.search(r"rare \| \\< 10 \| \\< 10 \|", own) or re.search(r"rare \| 0 \| 0 \|", own)
    assert re.search(r"\| site \| number 2 \| ", own)  # whose pseudonym is an id all the same
    assert not re.search(PSEUDONYM, own.encode())
    assert "/" + TOKEN not in own


def test_the_manifest_keeps_how_well_patients_are_told_apart(shared: Path) -> None:
    kept = json.loads((shared.parent / "manifest.json").read_text())["steps"]["report"]["same_patient_retrieval"]
    retrieval = Retrieval(**kept)
    assert retrieval.queries == 2 * PATIENTS
    assert retrieval.groups == PATIENTS
    assert retrieval.chance == pytest.approx(1 / (2 * PATIENTS - 1))
    assert 0 <= retrieval.low <= retrieval.rate <= retrieval.high <= 1
    report = (shared.parent / "report.html").read_text()
    assert retrieval_sentence(retrieval) in report
    assert retrieval_sentence(retrieval) not in shared.read_text()
    assert retrieval_sentence(retrieval, counted=False) in shared.read_text()


def test_another_report_takes_away_the_page_of_the_last(shared: Path) -> None:
    recipe, old = shared.parent.parent / "recipe.toml", shared.read_bytes()
    assert main(["report", str(recipe), "--out", str(shared.parent), "--force", *RUN]) == 0
    assert not shared.exists()
    assert main(["report", str(recipe), "--out", str(shared.parent), "--share", *RUN]) == 0
    assert shared.read_bytes() == old


def test_only_the_report_is_shared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run", str(tmp_path / "recipe.toml"), "--out", str(tmp_path), "--share"]) == 2
    assert "unknown option --share" in capsys.readouterr().err


@pytest.mark.slow
def test_galaxies_are_shared_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(14):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "images" / f"Andromeda{number}.png")
    recipe = tmp_path / "recipe.toml"
    text = 'domain = "galaxies"\n[[catalog]]\nname = "deep field"\nimages = "images"\nbands = ["g"]\n' + SMALL
    recipe.write_text(text.replace("\nepochs = 1", "\nepochs = 0"))
    run = ["--out", str(tmp_path / "run"), *RUN]
    assert main(["run", str(recipe), *run]) == 0
    capsys.readouterr()
    assert main(["report", str(recipe), *run, "--share", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == str(tmp_path / "run" / "shared.html")
    page = (tmp_path / "run" / "shared.html").read_text()
    assert "14 objects were used, and none was left out." in page
    assert "patient" not in page
    assert "Andromeda" not in page
    assert "deep field" not in page
    report = json.loads((tmp_path / "run" / "manifest.json").read_text())["steps"]["report"]
    assert "same_patient_retrieval" not in report


def row(**changes: Any) -> dict[str, Any]:
    usual = {"label": "kind", "kind": "classes", "start": "continued", "features": "last", "head": "linear"}
    usual |= {"draw": "balanced", "labels_per_class": 5, "n_labels": 13, "metric": "macro_auroc", "better": "higher"}
    return {**usual, "value": 0.8, "low": 0.7, "high": 0.9, "n_groups": 47, **changes}


def test_rows_tell_of_no_few() -> None:
    whole, few, named, rare = shared_rows(
        [
            row(note="not scored: plague (not estimable: 2 groups in the test half, 10 are needed)"),
            row(n_groups=9),
            row(**{"class": "effusion"}),
            row(**{"class": "plague", "value": None, "low": None, "high": None}),
            row(start="uncle's encoder", labels_per_class=13, difference_to="continued", value=None, n_groups=12),
        ]
    )
    assert "note" not in whole
    assert "n_labels" not in whole
    assert (whole["n_groups"], whole["value"]) == (40, 0.8)
    assert (few["n_groups"], few["value"], few["low"], few["high"], few["note"]) == (None, *[None] * 3, NOT_ESTIMABLE)
    assert named["class"] == "effusion"
    assert (rare["start"], rare["difference_to"], rare["n_labels"]) == ("other encoder 1", "continued", 13)


def test_ages_above_89_are_no_classes() -> None:
    ages = [row(label="patient_age", kind="ordered", **{"class": age}) for age in ("60", "88", "91", "95")]
    assert [one["class"] for one in shared_rows(ages)] == ["60", "88"]  # two levels became 90+, and are no one level
    assert [one["class"] for one in shared_rows(ages[:3])] == ["60", "88", "90+"]
    assert shared_rows([row(label="image", **{"class": "91"})])[0]["class"] == "91"
    assert shared_rows([row(label="seen by age 93")])[0]["label"] == "seen by age 90+"


def test_the_guard_counts_no_labels() -> None:
    candidates = [{"name": "start", "score": 0.7, "low": 0.0, "high": 0.0}]
    by = "the first head on 7 labelled objects of the training half"
    facts = {"chosen": "start", "why": f"It did not help (by {by})", "candidates": candidates, "measured_by": by}
    for labelled in (7, 0):
        assert "7 " not in str(_guard({**facts, "labelled": labelled}))
    assert _guard(None) is None


def test_trouble_is_counted_where_it_and_its_absence_are_of_many() -> None:
    def said(trouble: int, patients: int) -> str:
        ids = [f"i{number}" for number in range(60)]
        ranked = pd.DataFrame({"object_id": ids, "trouble": ["cut"] * trouble + [""] * (60 - trouble)})
        people = pd.Series([f"p{number % patients}" for number in range(60)], ids)
        return _trouble_sentences(ranked, people)[0]

    assert said(0, 60).startswith("No ")
    assert said(12, 60).startswith("12 ranked")
    assert all(said(*few).startswith("Some ") for few in ((9, 60), (30, 5), (52, 60)))


def test_what_retrieval_means_is_said() -> None:
    clear = Retrieval(0.63, 0.55, 0.7, 0.004, 412, 200)
    assert retrieval_sentence(clear) == (
        "The nearest other image is of the same patient for 63 % of 412 images (chance 0.4 %): embeddings are personal "
        "data and re-identify patients."
    )
    assert "412" not in retrieval_sentence(clear, counted=False)
    unclear = retrieval_sentence(Retrieval(0.02, 0.0, 0.05, 0.01, 412, 200))
    assert "re-identify" not in unclear
    assert "personal data all the same" in unclear
    assert "not estimable" in retrieval_sentence(None)
    assert "personal data all the same" in retrieval_sentence(None)


def page(**changes: Any) -> SharedPage:
    rows = [
        row(start=start, labels_per_class=size, value=0.6 + 0.02 * size, low=0.5, high=0.9)
        for start in ("imagenet", "continued")
        for size in (5, 10)
    ]
    rows += [row(difference_to="imagenet", difference_to_head="linear", value=0.04, low=0.01, high=0.07, label=HOSTILE)]
    parts: dict[str, Any] = {
        "title": HOSTILE,
        "used": Counted(1234, 600),
        "left_out": {"not_dicom": Counted(40, 30), "colour": Counted(4, 4), HOSTILE: Counted(80, 2)},
        "left_out_people": 36,
        "notices": [HOSTILE, "Research use only."],
        "findings": [f"A finding of a man of 93 years {HOSTILE}"],
        "metrics": rows,
        "training": [{"epoch": 1, "phase": "both", "loss": 2.0}, {"epoch": 2, "phase": "both", "loss": 1.0}],
        "provenance": {"seed": 0, "labels": {"age 95": HOSTILE}},
    }
    return SharedPage(**(parts | changes))


def test_one_page_is_one_file(tmp_path: Path) -> None:
    write_shared(tmp_path / "one.html", page())
    write_shared(tmp_path / "two.html", page())
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    text = (tmp_path / "one.html").read_text()
    assert "90+ years" in text
    assert "age 90+" in text
    write_shared(tmp_path / "empty.html", SharedPage("Chest radiographs", Counted(4, 4)))
    assert "&lt; 10 images were used, and none was left out." in (tmp_path / "empty.html").read_text()
    write_shared(tmp_path / "few.html", page(used=Counted(400, 4)))
    assert "400 images" not in (tmp_path / "few.html").read_text()


def test_order_of_hidden_counts_says_nothing(tmp_path: Path) -> None:
    reasons = {"a": Counted(5, 5), "b": Counted(9, 9), "c": Counted(7, 7)}
    other = {"a": Counted(9, 9), "b": Counted(5, 5), "c": Counted(7, 7)}
    for name, left_out in (("one", reasons), ("two", other)):
        write_shared(tmp_path / name, page(left_out=left_out, left_out_people=21))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_in_a_browser(tmp_path: Path, browser: Any, scheme: str) -> None:  # noqa: F811
    path = tmp_path / "shared.html"
    write_shared(path, page())
    complaints, requests = [], []
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(path.as_uri())
    assert complaints == []
    assert requests == [path.as_uri()]
    assert opened.title() == HOSTILE  # shown, not run
    assert opened.locator("script, img, canvas").count() == 0
    assert opened.locator("svg").count() >= 2
    assert opened.locator("#about").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for link in opened.locator("nav a").all():
        assert opened.locator(str(link.get_attribute("href"))).count() == 1
    opened.close()
