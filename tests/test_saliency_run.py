"""Saliency in a run: refused at once where it cannot work, on the report alone, and blind to what the store hides."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write
from PIL import Image
from small_runs import SMALL
from test_share import image

from domainssl.shards import write_hidden
from pipelines.cli import main
from pipelines.recipe import Recipe, RecipeError, parse_recipe
from pipelines.recipe_saliency import check_saliency
from pipelines.run_folder import RunFolder
from pipelines.saliency import MOST_ROWS, how, some_of_every_answer

RECIPE = """\
domain = "{domain}"

[[catalog]]
name = "a"
table = "{root}/labels.csv"
images = "{root}"
bands = ["grey"]

[labels.finding]
kind = "yes_no"
yes = "ill"
"""


def recipe(*overrides: str, domain: str = "galaxies") -> Recipe:
    return parse_recipe(RECIPE.format(root="/data", domain=domain), Path("/data"), overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["report.saliency=grad_cam"], "report.saliency: tf_efficientnet_lite0 makes a 3x3 grid of 96 px, too coarse"),
        (["report.saliency=attention"], "report.saliency: 'attention' is of vision transformers"),
        (["report.saliency=cam"], "report.saliency: 'cam' is not known"),
        (
            ["report.saliency=occlusion", "labels.finding.kind=real", "labels.finding.yes=''"],
            "report.saliency: there is no label of classes, yes_no, multilabel to explain; give 'off'",
        ),
        (
            ["report.saliency=occlusion", "classify.heads=['knn']"],
            "report.saliency: the head that predicts is 'knn', which is not linear; begin classify.heads with 'linear'",
        ),
        (["report.saliency=occlusion", "report.saliency_objects=61"], "report.saliency_objects: 61 is too large"),
        (["report.saliency_objects=0"], "report.saliency_objects: 0 is too small; give 1 or more"),
    ],
)
def test_a_recipe_that_cannot_give_maps_is_refused_when_it_is_read(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        recipe(*overrides)


def test_heads_of_no_label_that_is_explained_do_not_matter() -> None:
    assert recipe("report.saliency=occlusion", "classify.heads=['lda', 'knn']").report.saliency == "occlusion"
    assert recipe("report.saliency=grad_cam", "encoder.size=224").report.saliency == "grad_cam"


def test_what_only_the_network_tells_is_refused_before_images_are_read() -> None:
    check_saliency(recipe("report.saliency=grad_cam", "encoder.size=224"))
    unknown = recipe("report.saliency=grad_cam", "encoder.name=vgg11", "encoder.size=128")
    with pytest.raises(RecipeError, match="vgg11 makes a 4x4 grid of 128 px"):
        check_saliency(unknown)


def test_the_method_is_told_with_its_sizes_and_views() -> None:
    said = how(recipe("report.saliency=occlusion"))
    assert "a square of 24 px, moved by 8 px" in said
    assert "image of 96 px" in said
    assert "turns and mirror images" in said
    assert "small shifts" in how(recipe("report.saliency=occlusion", domain="chest_xrays"))
    assert "small shifts" in how(recipe("report.saliency=occlusion", "labels.finding.sided=true"))


def test_heads_of_permuted_labels_have_seen_every_answer() -> None:
    y = np.zeros((20_000, 1))
    y[:6] = 1
    known = np.arange(5, 20_000)
    for seed in range(3):
        rows = some_of_every_answer(y, known, np.random.default_rng(seed))
        assert y[rows].sum() == 1
        assert len(rows) > 0.9 * MOST_ROWS
        assert (np.diff(rows) > 0).all()
        assert np.isin(rows, known).all()


HIDDEN = np.zeros((40, 40), bool)
HIDDEN[:14, 6:22] = True  # of which letters take a part
KEPT = ["--set", "store.marks=keep"]  # so that the letters are in the store, and the test hides them itself
RUN = ["--workers", "1", "--device", "cpu", "--quiet", *KEPT]


def pictures(report: Path) -> list[np.ndarray]:
    """All pictures of the section: images and maps by turns, in 0..255."""
    text = report.read_text()
    section = text[text.index('<section id="saliency"') :].split("</section>")[0]
    found = [base64.b64decode(data) for data in re.findall(r"data:image/webp;base64,([^\"]+)", section)]
    return [np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int64) for data in found]


def hide_by_hand(run: RunFolder) -> None:
    """Make the store hide the letters, and the run take that for what it prepared."""
    write_hidden(run.store, HIDDEN)
    manifest = run.read_manifest()
    sizes = [path.stat().st_size for path in run.store.rglob("*") if path.is_file()]
    manifest["steps"]["prepare"]["outputs"]["store"] = [len(sizes), sum(sizes)]
    run.manifest.write_text(json.dumps(manifest))


@pytest.mark.slow
def test_marks_are_in_no_picture_and_no_map_leaves_the_run(tmp_path: Path) -> None:
    root, run = tmp_path / "files", tmp_path / "run"
    root.mkdir()
    rows = ["image_id,file,patient_id,finding"]
    for number in range(60):
        dataset = image(number, number)
        pixels = dataset.pixel_array.copy()
        pixels[2:12, 8:18:3] = 4000  # letters: strokes that no anatomy has
        dataset.PixelData = pixels.tobytes()
        write(dataset, root / f"{number}.dcm")
        rows.append(f"{number},{number}.dcm,{number},{('well', 'ill')[number % 2]}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "recipe.toml"
    saliency = '\n[report]\nsaliency = "occlusion"\nsaliency_objects = 4\n'
    path.write_text(RECIPE.format(root=root, domain="chest_xrays") + SMALL + saliency)
    assert main(["run", str(path), "--out", str(run), *RUN]) == 0
    scale = 224 // 40
    inner = slice(3 * scale, 11 * scale), slice(9 * scale, 18 * scale)  # of the hidden region, in pictures
    marked = pictures(run / "report.html")
    assert len(marked) == 8
    assert min(picture[inner].max() for picture in marked[::2]) > 150  # the letters are there to be seen
    hide_by_hand(RunFolder(run))
    assert main(["report", str(path), "--out", str(run), "--force", "--share", *RUN]) == 0
    hidden = pictures(run / "report.html")
    assert len(hidden) == 8
    assert max(picture[inner].max() for picture in hidden) < 25  # black but for what WebP makes of it
    assert all(np.ptp(picture[:, 25 * scale :], axis=2).max() > 40 for picture in hidden[1::2])  # maps elsewhere
    assert "saliency-heading" not in (run / "shared.html").read_text()
    assert "data:image" not in (run / "shared.html").read_text()
    found = json.loads((run / "manifest.json").read_text())["steps"]["report"]["saliency"]
    assert found[0]["label"] == "finding"
    assert found[0]["verdict"] == "few"
