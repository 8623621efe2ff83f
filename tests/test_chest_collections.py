"""Public collections read from small folders of their published layouts."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalogs.chest_xrays.collections import COLLECTIONS, chexpert, mimic, nih, rsna, vindr
from catalogs.chest_xrays.collections.layout import ages, canonical, states, views
from catalogs.errors import CatalogError, MissingFileError

TOKEN = "Zqxwvtoken"
COMMON = ["id", "file", "patient_id", "study_id", "view", "sex", "age", "split"]
NIH_2017 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
NIH_2020 = NIH_2017.replace("Gender", "Sex").rstrip(",")
MIMIC_META = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate"


def write(path: Path, *lines: str) -> Path:
    """Lines of text, compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def cells(findings: tuple[str, ...], **given: str) -> str:
    """A row's cells of findings, those not given empty; names with "_" for blanks."""
    assert {name.replace("_", " ") for name in given} <= set(findings)
    return ",".join(given.get(name.replace(" ", "_"), "") for name in findings)


def checked(name: str, root: Path) -> pd.DataFrame:
    """A collection's table by id, with what holds for all of them asserted."""
    collection = COLLECTIONS[name]
    table = collection.read(root)
    assert list(table.columns[:8]) == COMMON
    assert set(collection.findings) < set(table.columns)
    assert table["id"].is_unique
    assert list(table.index) == list(range(len(table)))
    for column in ("id", "file", "split"):
        assert all(isinstance(value, str) for value in table[column])
    for column in ("patient_id", "study_id"):
        assert all(value is None or (isinstance(value, str) and value) for value in table[column])
    assert set(table["view"]) <= {"PA", "AP", "LATERAL", None}
    assert set(table["sex"]) <= {"M", "F", None}
    assert set(table["split"]) <= {"train", "test", ""}
    assert table["age"].dtype == np.float64
    for finding in collection.findings:
        assert set(table[finding]) <= {"1", "0", "-1", None}
    assert table["study_id"].isna().all() or table.groupby("study_id")["patient_id"].nunique().max() == 1
    return table.set_index("id")


def chexpert_folder(root: Path, above: str = "CheXpert-v1.0-small/") -> Path:
    header = ",".join(["Path,Sex,Age,Frontal/Lateral,AP/PA", *chexpert.FINDINGS])
    blank = cells(chexpert.FINDINGS)
    seen = cells(chexpert.FINDINGS, No_Finding="1.0", Pneumonia="-1.0", Support_Devices="0.0")
    write(
        root / "train.csv",
        header,
        f"{above}train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,{seen}",
        f"{above}train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,{seen}",
        f"{above}train/patient00002/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,{blank}",
        f"{above}train/patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,{blank}",
    )
    write(root / "valid.csv", header, f"{above}valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,{seen}")
    return root


def test_chexpert(tmp_path: Path) -> None:
    root = chexpert_folder(tmp_path)
    touch(root, "train/patient00001/study1/view1_frontal.jpg")
    table = checked("chexpert", root)
    first = table.loc["train/patient00001/study1/view1_frontal"]
    assert dict(first[COMMON[1:]]) == {
        "file": "train/patient00001/study1/view1_frontal.jpg",
        "patient_id": "patient00001",
        "study_id": "patient00001/study1",
        "view": "AP",
        "sex": "F",
        "age": 68.0,
        "split": "train",
    }
    assert (first["No Finding"], first["Pneumonia"], first["Support Devices"], first["Edema"]) == ("1", "-1", "0", None)
    assert list(table["view"]) == ["AP", "LATERAL", None, "PA", "AP"]
    assert list(table["sex"]) == ["F", "F", None, "M", "M"]
    assert list(table["split"]) == ["train"] * 5  # valid is no test set
    assert table["study_id"].nunique() == 4
    assert table["patient_id"].nunique() == 3


@pytest.mark.parametrize("above", ["CheXpert-v1.0-small/", "CheXpert-v1.0/", ""])
@pytest.mark.parametrize("stored", ["CheXpert-v1.0-small/", ""])
def test_chexpert_paths_are_those_on_the_disk(tmp_path: Path, above: str, stored: str) -> None:
    root = chexpert_folder(tmp_path, above)
    touch(root, f"{stored}train/patient00001/study1/view1_frontal.jpg")
    there = stored if stored == above else ""  # a folder of another name is not guessed
    assert checked("chexpert", root)["file"].iloc[0] == f"{there}train/patient00001/study1/view1_frontal.jpg"


def test_chexpert_first_parts_are_dropped_one_by_one(tmp_path: Path) -> None:
    root = chexpert_folder(tmp_path, "chexpertchestxrays-u20210408/CheXpert-v1.0/")
    touch(root, "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg")
    table = checked("chexpert", root)
    assert table["file"].iloc[0] == "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg"
    assert table["file"].iloc[-1] == "valid/patient64541/study1/view1_frontal.jpg"  # absent: what is expected


def test_chexpert_test_set_in_two_tables(tmp_path: Path) -> None:
    """Labels in one, sex and age in the other, and neither in the training folder."""
    write(
        tmp_path / "test.csv",
        "Path,Sex,Age,Frontal/Lateral,AP/PA",
        "CheXpert-v1.0/test/patient64741/study1/view1_frontal.jpg,Female,76.0,Frontal,PA",
        "CheXpert-v1.0/test/patient64742/study1/view1_frontal.jpg,Male,61.0,Frontal,AP",
    )
    labels = cells(chexpert.FINDINGS, Edema="1", Fracture="0")
    write(
        tmp_path / "test_labels.csv.gz",
        ",".join(["Path", *chexpert.FINDINGS]),
        f"test/patient64741/study1/view1_frontal.jpg,{labels}",
        f"test/patient64743/study1/view1_frontal.jpg,{labels}",
    )
    table = checked("chexpert", tmp_path)
    assert [name.split("/")[1] for name in table.index] == ["patient64741", "patient64742", "patient64743"]
    assert list(table["Edema"]) == ["1", None, "1"]
    assert list(table["sex"]) == ["F", "M", None]
    np.testing.assert_array_equal(table["age"], [76, 61, np.nan])
    assert set(table["split"]) == {"test"}


def nih_folder(root: Path) -> Path:
    write(
        root / "Data_Entry_2017.csv",
        NIH_2017,
        "00000001_000.png,Cardiomegaly|Pleural_Thickening,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
        "00000001_001.png,No Finding,1,1,018M,M,AP,2682,2749,0.143,0.143,",
        "00000002_000.png,,0,00000002,414Y,F,PA,2682,2749,0.143,0.143,",
    )
    return root


def test_nih_of_2017(tmp_path: Path) -> None:
    root = nih_folder(tmp_path)
    touch(
        root,
        "images_001/images/00000001_000.png",
        "images_012/images/00000001_001.png",
        "images_small/images/00000002_000.png",
    )
    write(root / "train_val_list.txt", "00000001_000.png", "00000001_001.png")
    write(root / "test_list.txt", "00000002_000.png")
    table = checked("nih", root)
    assert list(table.index) == ["00000001_000", "00000001_001", "00000002_000"]
    assert list(table["file"]) == [
        "images_001/images/00000001_000.png",
        "images_012/images/00000001_001.png",
        "images/00000002_000.png",  # absent: the small copies are other images
    ]
    assert list(table["patient_id"]) == ["1", "1", "2"]
    assert table["study_id"].isna().all()
    np.testing.assert_array_equal(table["age"], [58, 1.5, np.nan])
    assert list(table["split"]) == ["train", "train", "test"]
    assert set(table.columns[table.iloc[0] == "1"]) == {"patient_id", "Cardiomegaly", "Pleural_Thickening"}
    assert (table.loc["00000001_001", list(nih.FINDINGS[1:])] == "0").all()  # absence is told
    assert table.loc["00000002_000", list(nih.FINDINGS)].isna().all()


def test_nih_of_2020_comes_first(tmp_path: Path) -> None:
    root = nih_folder(tmp_path)
    write(root / "Data_Entry_2017_v2020.csv.gz", NIH_2020, "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.1,0.1")
    touch(root, "images/00000003_000.jpg", "images/00000003_000.txt")
    table = checked("nih", root)
    assert list(table[["patient_id", "sex", "age", "split", "file", "Hernia"]].iloc[0]) == [
        *("3", "F", 81.0, "", "images/00000003_000.jpg", "1"),
    ]
    assert len(table) == 1


def test_nih_from_the_real_collection(shared_data: Path, tmp_path: Path) -> None:
    """Real rows written in NIH's layout come back with the same findings, patients and views, and their files."""
    real = pd.read_csv(shared_data / "chest" / "nih" / "labels.csv", dtype=str)
    names = [Path(file).stem for file in real["file"]]
    rows = [
        f"{name}.png,{row.nih_findings},0,{int(row.group_id.removeprefix('nih_'))},{row.age},{row.sex},{row.view},1,1,1,1"
        for name, row in zip(names, real.itertuples(), strict=True)
    ]
    write(tmp_path / "Data_Entry_2017_v2020.csv", NIH_2020, *rows)
    (tmp_path / "images").symlink_to(shared_data / "chest" / "nih" / "images")
    table = checked("nih", tmp_path)
    assert list(table.index) == names
    assert list(table["file"]) == list(real["file"])
    assert list(table["view"]) == list(real["view"])
    assert [f"nih_{int(patient):08d}" for patient in table["patient_id"]] == list(real["group_id"])
    found = ["|".join(sorted(name for name in nih.FINDINGS if row[name] == "1")) for _, row in table.iterrows()]
    assert found == ["|".join(sorted(cell.split("|"))) for cell in real["nih_findings"]]
    assert Counter(table["Pneumonia"]) == {"1": 390, "0": 298}


def rsna_folder(root: Path) -> Path:
    write(
        root / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        "aaaa-1,264.0,152.0,213.0,379.0,1",
        "bbbb-2,,,,,0",
        "aaaa-1,562.0,152.0,256.0,453.0,1",
        "cccc-3,,,,,0",
    )
    nih_images = {"aaaa-1": "00000013_005.png", "bbbb-2": "00000013_006.png", "cccc-3": "00028173_003.png"}
    images = [
        {"subset_img_id": image, "img_id": nih_image, "orig_labels": ["Mass"], "StudyInstanceUID": "1.2"}
        for image, nih_image in nih_images.items()
    ]
    (root / rsna.MAPPING).write_text(json.dumps(images))
    return root


def test_rsna(tmp_path: Path) -> None:
    root = rsna_folder(tmp_path)
    touch(root, "stage_2_train_images/aaaa-1.dcm", "stage_2_train_images/aaaa-1.png", "stage_2_train_images/bbbb-2.png")
    table = checked("rsna", root)
    assert list(table.index) == ["aaaa-1", "bbbb-2", "cccc-3"]
    assert list(table["Lung Opacity"]) == ["1", "0", "0"]
    assert table["Normal"].isna().all()
    assert list(table["patient_id"]) == ["13", "13", "28173"]  # as NIH's table has them, and not the image's own id
    assert [Path(file).name for file in table["file"]] == ["aaaa-1.dcm", "bbbb-2.png", "cccc-3.dcm"]
    assert list(table.columns) == [*COMMON[1:], "Lung Opacity", "Normal"]  # no boxes
    write(
        root / "stage_2_detailed_class_info.csv",
        "patientId,class",
        *("aaaa-1,Lung Opacity", "aaaa-1,Lung Opacity", "bbbb-2,No Lung Opacity / Not Normal", "cccc-3,Normal"),
    )
    assert list(checked("rsna", root)["Normal"]) == ["0", "0", "1"]


def test_rsna_without_true_patients_is_refused(tmp_path: Path) -> None:
    """Tables and headers both have the image's id for the patient's: each image would be a patient of its own."""
    root = rsna_folder(tmp_path)
    images = json.loads((root / rsna.MAPPING).read_text())
    (root / rsna.MAPPING).write_text(json.dumps(images[1:]))
    with pytest.raises(CatalogError, match=r"1 image\(s\) are not in pneumonia-challenge-dataset-mappings_2018.json"):
        COLLECTIONS["rsna"].read(root)
    for broken in ("[{}]", "{", "3", '["a"]'):
        (root / rsna.MAPPING).write_text(broken)
        with pytest.raises(CatalogError, match="fetch it again"):
            COLLECTIONS["rsna"].read(root)
    (root / rsna.MAPPING).unlink()
    with pytest.raises(MissingFileError, match=r"does not hold pneumonia-challenge-dataset-mappings_2018\.json"):
        COLLECTIONS["rsna"].read(root)


def vindr_folder(root: Path) -> Path:
    header = ",".join(["image_id,rad_ID", *vindr.FINDINGS])

    def row(image: str, reader: str, **seen: str) -> str:
        zeros = dict.fromkeys((name.replace(" ", "_") for name in vindr.FINDINGS), "0")
        return f"{image},{reader},{cells(vindr.FINDINGS, **(zeros | seen))}"

    write(
        root / "annotations" / "image_labels_train.csv",
        header,
        row("a1", "R8", Edema="1", COPD="1", ILD="1", Pneumonia=""),
        row("b2", "R8", Edema="1"),
        row("a1", "R9", Edema="1", COPD="0", ILD="", Pneumonia=""),
        row("a1", "R10", Edema="1", COPD="0", ILD="0", Pneumonia=""),
        row("a1", "R10", Edema="1", COPD="0", ILD="0", Pneumonia=""),  # a double row is no further reader
        row("b2", "R9", Edema="1"),
        row("b2", "R10", Edema="0"),
    )
    consensus = [name.replace("Other diseases", "Other disease") for name in vindr.FINDINGS]
    ones = ",".join("1" if name == "Other disease" else "0" for name in consensus)
    write(root / "annotations" / "image_labels_test.csv", ",".join(["image_id", *consensus]), f"c3,{ones}")
    return root


def test_vindr(tmp_path: Path) -> None:
    root = vindr_folder(tmp_path)
    touch(root, "train/a1.dicom", "test/c3.png")
    table = checked("vindr", root)
    assert list(table.index) == ["a1", "b2", "c3"]
    assert list(table["Edema"]) == ["1", "1", "0"]
    np.testing.assert_allclose(table["share:Edema"], [1, 2 / 3, np.nan])
    assert list(table["COPD"]) == ["0", "0", "0"]
    np.testing.assert_allclose(table["share:COPD"], [1 / 3, 0, np.nan])
    assert list(table["ILD"]) == ["-1", "0", "0"]  # one reader says so, one denies it, one says nothing
    assert table.loc["a1", "share:ILD"] == 0.5
    assert list(table["Pneumonia"]) == [None, "0", "0"]
    assert np.isnan(table.loc["a1", "share:Pneumonia"])
    assert list(table["Other diseases"]) == ["0", "0", "1"]
    assert table["patient_id"].isna().all()
    assert COLLECTIONS["vindr"].patients == "unknown"
    assert list(table["split"]) == ["train", "train", "test"]
    assert list(table["file"]) == ["train/a1.dicom", "train/b2.dicom", "test/c3.png"]
    (root / "annotations" / "image_labels_train.csv").unlink()
    assert list(checked("vindr", root).index) == ["c3"]


def test_vindr_majority() -> None:
    """Against a count by hand, for every vote of one to four readers."""
    ballots = [votes for readers in range(1, 5) for votes in product(("0", "1", None), repeat=readers)]
    rows = [(str(image), f"R{n}", vote) for image, votes in enumerate(ballots) for n, vote in enumerate(votes)]
    images, readers, votes = zip(*rows, strict=True)
    table = pd.DataFrame({"id": images, "reader": readers, **dict.fromkeys(vindr.FINDINGS, votes)}, dtype=object)
    agreed = vindr._agreed(table).set_index("id")
    assert list(agreed.index) == [str(image) for image in range(len(ballots))]
    for image, ballot in enumerate(ballots):
        yes, no = ballot.count("1"), ballot.count("0")
        said = None if yes + no == 0 else "1" if yes > no else "0" if no > yes else "-1"
        assert agreed.loc[str(image), "Edema"] == said
        np.testing.assert_equal(agreed.loc[str(image), "share:Edema"], yes / (yes + no) if yes + no else np.nan)


def mimic_folder(root: Path, packed: str = ".gz", labeler: str = "chexpert") -> Path:
    findings = tuple(sorted(chexpert.FINDINGS))  # MIMIC's order is the alphabet's
    write(
        root / f"mimic-cxr-2.0.0-metadata.csv{packed}",
        MIMIC_META,
        "02aa804e-bde0afdd,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506",
        "174413ec-4ec4c1f7,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506",
        "2a2277a9-b0ded155,10000032,53189527,CHEST,LL,3056,2544,21800626",
        "e084de3b-be89b11e,10000764,57375967,CHEST,AP LLD,3056,2544,21800626",
        "0b4eb1af-29c2aa3a,19999987,55368167,CHEST,,3056,2544,21800626",
    )
    write(
        root / f"mimic-cxr-2.0.0-{labeler}.csv{packed}",
        ",".join(["subject_id,study_id", *findings]),
        f"10000032,50414267,{cells(findings, No_Finding='1.0', Edema='0.0')}",
        f"10000032,53189527,{cells(findings, Pneumonia='-1.0')}",
        f"10000764,57375967,{cells(findings)}",
    )
    write(
        root / f"mimic-cxr-2.0.0-split.csv{packed}",
        "dicom_id,study_id,subject_id,split",
        "02aa804e-bde0afdd,50414267,10000032,train",
        "174413ec-4ec4c1f7,50414267,10000032,train",
        "2a2277a9-b0ded155,53189527,10000032,train",
        "e084de3b-be89b11e,57375967,10000764,test",
        "0b4eb1af-29c2aa3a,55368167,19999987,validate",
    )
    return root


@pytest.mark.parametrize("packed", [".gz", ""])
def test_mimic(tmp_path: Path, packed: str) -> None:
    root = mimic_folder(tmp_path, packed)
    touch(root, "files/p10/index.html", "files/p10/p10000032/s50414267/02aa804e-bde0afdd.dcm")
    table = checked("mimic", root)
    assert list(table["file"])[:2] == [
        "files/p10/p10000032/s50414267/02aa804e-bde0afdd.dcm",
        "files/p10/p10000032/s50414267/174413ec-4ec4c1f7.dcm",
    ]
    assert table["file"].iloc[-1] == "files/p19/p19999987/s55368167/0b4eb1af-29c2aa3a.dcm"
    assert list(table["patient_id"]) == ["10000032"] * 3 + ["10000764", "19999987"]
    assert list(table["study_id"]) == ["50414267"] * 2 + ["53189527", "57375967", "55368167"]
    assert list(table["view"]) == ["PA", "LATERAL", "LATERAL", None, None]
    assert list(table["split"]) == ["train", "train", "train", "test", "train"]
    assert list(table["No Finding"]) == ["1", "1", None, None, None]  # of the study, so of both its images
    assert list(table["Edema"]) == ["0", "0", None, None, None]
    assert list(table["Pneumonia"]) == [None, None, "-1", None, None]
    assert COLLECTIONS["mimic"].level == "study"


def test_mimic_of_either_labeler(tmp_path: Path) -> None:
    root = mimic_folder(tmp_path, labeler="negbio")
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    table = checked("mimic_negbio", root)
    assert list(table["Edema"]) == ["0", "0", None, None, None]
    assert set(table["split"]) == {""}
    assert table["file"].str.endswith(".jpg").all()  # nothing there: as in MIMIC-CXR-JPG
    with pytest.raises(MissingFileError, match=r"does not hold mimic-cxr-2\.0\.0-chexpert\.csv"):
        COLLECTIONS["mimic"].read(root)
    assert "NegBio" in COLLECTIONS["mimic_negbio"].source
    assert "NegBio" not in COLLECTIONS["mimic"].source
    assert mimic.FINDINGS == chexpert.FINDINGS


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "chexpert": chexpert_folder,
    "nih": nih_folder,
    "rsna": rsna_folder,
    "vindr": vindr_folder,
    "mimic": mimic_folder,
    "mimic_negbio": lambda root: mimic_folder(root, labeler="negbio"),
}


def test_every_collection_is_tried_here() -> None:
    assert set(FOLDERS) == set(COLLECTIONS)
    for collection in COLLECTIONS.values():
        assert len(set(collection.findings)) == len(collection.findings)
        assert not set(collection.findings) & set(COMMON)
    assert {name: len(COLLECTIONS[name].findings) for name in COLLECTIONS} == {
        **{"chexpert": 14, "mimic": 14, "mimic_negbio": 14},
        **{"nih": 15, "rsna": 2, "vindr": 28},
    }


@pytest.mark.parametrize("name", COLLECTIONS)
def test_an_empty_folder_says_what_is_needed(name: str, tmp_path: Path) -> None:
    root = tmp_path / TOKEN
    for folder in (root, root / "nowhere"):
        root.mkdir(exist_ok=True)
        with pytest.raises(MissingFileError, match=r"\.csv.* `images` is to name the folder that does") as caught:
            COLLECTIONS[name].read(folder)
        assert TOKEN in str(caught.value)
        assert TOKEN not in caught.value.public


def tables(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.name.endswith((".csv", ".csv.gz"))]


def rewritten(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    write(path, *change(lines))


DAMAGE: dict[str, Callable[[list[str]], list[str]]] = {
    "no header": lambda lines: [f"{TOKEN},{line}" for line in lines[1:]],
    "a column fewer": lambda lines: [line.rpartition(",")[2] for line in lines],
    "other names": lambda lines: [lines[0].replace("i", TOKEN), *lines[1:]],
    "a long row": lambda lines: [*lines, f"{lines[-1]},{TOKEN},{TOKEN}"],
    "a row of tokens": lambda lines: [*lines, ",".join([TOKEN] * (lines[0].count(",") + 1))],
    "a row without a name": lambda lines: [*lines, "," * lines[0].count(",")],
    "tokens for numbers": lambda lines: [
        lines[0],
        *(line.replace("1.0", TOKEN).replace(",0", f",{TOKEN}") for line in lines[1:]),
    ],
}


# Cells of no published column, and cells after the last.
HARMLESS = {("nih", "tokens for numbers"), *((name, "a long row") for name in COLLECTIONS)}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", COLLECTIONS)
def test_errors_repeat_no_cell_and_no_path(name: str, damage: str, tmp_path: Path) -> None:
    """Each table of a collection damaged in turn; what is not refused keeps the promises of the columns."""
    said = []
    for place in range(len(tables(FOLDERS[name](tmp_path / f"{TOKEN}_whole")))):
        root = FOLDERS[name](tmp_path / f"{TOKEN}{place}")
        rewritten(tables(root)[place], DAMAGE[damage])
        try:
            checked(name, root)
        except CatalogError as error:
            said.append(error.public)
    assert said or (name, damage) in HARMLESS
    assert all(COLLECTIONS[name].title in text for text in said)
    assert TOKEN.lower() not in "".join(said).lower()


def test_double_rows_count_once_and_must_agree(tmp_path: Path) -> None:
    root = mimic_folder(tmp_path, "")
    for path in tables(root):
        rewritten(path, lambda lines: [*lines, *lines[1:]])
    pd.testing.assert_frame_equal(checked("mimic", root), checked("mimic", mimic_folder(tmp_path / "once")))
    rewritten(root / "mimic-cxr-2.0.0-chexpert.csv", lambda lines: [*lines, lines[1].replace("1.0", "0.0")])
    with pytest.raises(CatalogError, match="1 of 'study_id' stand in several rows that contradict each other"):
        COLLECTIONS["mimic"].read(root)
    write(tmp_path / "nih" / "x.txt")
    root = nih_folder(tmp_path / "nih")
    rewritten(root / "Data_Entry_2017.csv", lambda lines: [*lines, lines[1].replace("Cardiomegaly", "Mass")])
    with pytest.raises(CatalogError, match="1 of 'id' stand in several rows"):
        COLLECTIONS["nih"].read(root)


def test_lists_of_a_split(tmp_path: Path) -> None:
    root = nih_folder(tmp_path)
    write(root / "train_val_list.txt", "00000001_000.png")
    write(root / "test_list.txt", "00000001_000.png", "00000002_000.png")
    with pytest.raises(CatalogError, match=r"1 image\(s\) stand in train_val_list.txt and in test_list.txt"):
        COLLECTIONS["nih"].read(root)
    write(root / "train_val_list.txt.gz", "00000001_001.png", "")
    (root / "train_val_list.txt").unlink()
    assert list(checked("nih", root)["split"]) == ["test", "train", "test"]
    for broken in (b"\xff\xfe0", gzip.compress(b"0")[:-3], b"\x1f\x8b0"):
        (root / "train_val_list.txt.gz").write_bytes(broken)
        with pytest.raises(CatalogError, match="not UTF-8"):
            COLLECTIONS["nih"].read(root)


def test_no_report_and_no_box_is_read(tmp_path: Path) -> None:
    """Columns that a table has beside the published ones are left where they are."""
    root = mimic_folder(tmp_path, "")
    for path in tables(root):
        rewritten(path, lambda lines: [f"{lines[0]},report", *(f"{line},{TOKEN}" for line in lines[1:])])
    assert TOKEN not in checked("mimic", root).to_csv()
    assert "21800506" not in checked("mimic", root).to_csv()  # nor is a date


def test_cells() -> None:
    written = pd.Series(
        ["058Y", "58", "58.0", "006M", "014D", "002W", "414", "120", "121", "", "Y", "-3", None], dtype=object
    )
    np.testing.assert_allclose(
        ages(written), [58, 58, 58, 0.5, 14 / 365.25, 14 / 365.25, *([np.nan, 120] + [np.nan] * 5)]
    )
    assert list(views(pd.Series(["pa", "AP", "LL", "RL", "lateral", "AP AXIAL", None]))) == [
        *("PA", "AP", "LATERAL", "LATERAL", "LATERAL", None, None),
    ]
    table = pd.DataFrame({"a": ["1", "1.0", "0", "0.0", "-1", "-1.0", "", None]}, dtype=object)
    assert list(states(table, ["a"], "T")["a"]) == ["1", "1", "0", "0", "-1", "-1", None, None]
    wrong = pd.DataFrame({"a": ["1", "2", "0.5", "2"]}, dtype=object)
    with pytest.raises(CatalogError, match=r"T: 3 cell\(s\) of 'a' hold what the published table never holds"):
        states(wrong, ["a"], "T")
    empty = canonical(pd.DataFrame({"a": []}, dtype=object), id=[], file=[])
    assert list(empty.columns) == [*COMMON, "a"]
    assert len(empty) == 0
