"""What the simulated cohort's table says is what its pixels show, and each switch changes only what it is about."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.reading import Cutout, Request
from catalogs.samples.radiograph_anatomy import View
from catalogs.samples.radiograph_cohort import FINDINGS, INDEPENDENT, SAME_SCANNERS, SITES, Site, plan_cohort
from catalogs.samples.radiograph_devices import DEVICES, Device
from catalogs.samples.radiograph_exposures import coordinates, draw_exposure, frontal
from catalogs.samples.radiograph_findings import Findings
from catalogs.samples.radiograph_orientation import field_of_view, laid, orientations
from catalogs.samples.radiograph_scanners import SCANNERS
from catalogs.samples.radiographs import expose, simulate, write_radiographs

COUNT, SIZE, SEED = 40, 128, 4
VIEWS: tuple[View, ...] = ("PA", "AP", "LL")
Written = Callable[..., tuple[Path, pd.DataFrame]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Writes a small cohort without laterals, odd orientations and crops, but for what the arguments say."""

    def write(**options: Any) -> tuple[Path, pd.DataFrame]:
        usual = {"lateral_share": 0.0, "disoriented_share": 0.0, "cropped_share": 0.0, "mark": "none"}
        folder = tmp_path_factory.mktemp("cohort")
        table = pd.read_csv(
            write_radiographs(folder, COUNT, SEED, size=SIZE, **(usual | options)), dtype=str, keep_default_na=False
        )
        return folder / "images", table

    return write


@pytest.fixture(scope="module")
def usual(written: Written) -> tuple[Path, pd.DataFrame]:
    return written()


def _asymmetry(picture: Float[np.ndarray, "y x"], seed: int, view: View) -> float:
    """How much brighter the patient's left lung field is than the right one."""
    _, anatomy, exposure = simulate(0, 0, seed, SIZE, view=view)
    x, y = coordinates(exposure)
    lung = (np.abs(x) > 4.5) & (np.abs(x) < 0.97 * anatomy.half_width)
    lung &= (y > 2.0) & (y < anatomy.lung_height + anatomy.angle_drop)
    return float(picture[lung & (x > 0)].mean() - picture[lung & (x < 0)].mean())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["PA", "AP"]), st.integers(1, 3), st.integers(0, 2))
def test_the_side_is_the_patient_s(seed: int, view: View, severity: int, scanner: int) -> None:
    well, anatomy, _ = simulate(0, 0, seed, SIZE, view=view, scanner=SCANNERS[scanner])
    sides = {"effusion": anatomy.effusion_side, "opacity": anatomy.opacity_side}
    for name, side in sides.items():
        ill = simulate(0, 0, seed, SIZE, view=view, findings=Findings(**{name: severity}), scanner=SCANNERS[scanner])[0]
        assert side * (_asymmetry(ill, seed, view) - _asymmetry(well, seed, view)) > 0.0005


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(VIEWS), st.sampled_from(FINDINGS))
def test_more_severe_is_brighter(seed: int, view: View, name: str) -> None:
    means = [
        float(simulate(0, 0, seed, SIZE, view=view, findings=Findings(**{name: severity}))[0].mean())
        for severity in range(4)
    ]
    assert (np.diff(means) > 0).all(), means


def test_the_table_s_sides_are_seen_in_the_files(written: Written) -> None:
    images, table = written(sites=(Site("A", 0.85, (1.0, 0.0, 0.0), False),))
    severe = table[(table["effusion_severity"] == "3") & (table["opacity_severity"] == "0")]
    assert len(severe) > 4
    assert set(severe["effusion_side"]) == {"L", "R"}
    for answer, side in zip(_read(images, severe), severe["effusion_side"], strict=True):
        pixels = answer.pixels[0]
        rows, columns = pixels.shape
        low = pixels[round(0.45 * rows) : round(0.7 * rows)]
        left, right = (
            low[:, round(0.62 * columns) : round(0.85 * columns)],
            low[:, round(0.15 * columns) : round(0.38 * columns)],
        )
        assert (np.nanmean(left) > np.nanmean(right)) == (side == "L")


def _read(images: Path, table: pd.DataFrame) -> list[Cutout]:
    rows = pd.DataFrame({"object_id": table["image_id"], "paths": [(str(images / file),) for file in table["file"]]})
    answers = list(read_chest_xrays(rows.reset_index(drop=True), Request(("grey",))))
    cutouts = [answer for answer in answers if isinstance(answer, Cutout)]
    assert len(cutouts) == len(answers)
    return cutouts


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(VIEWS))
def test_dose_changes_grain_and_brightness_alone(seed: int, view: View) -> None:
    picture, anatomy, exposure = simulate(0, 0, seed, SIZE, view=view)
    grains, means, slow = [], [], []
    for dose in (-2.0, 0.0, 2.0):
        other = expose(anatomy, Findings(), view, None, replace(exposure, dose=dose), seed, 0)
        grain = other - expose(anatomy, Findings(), view, None, replace(exposure, dose=dose, noise=0.0), seed, 0)
        grains.append(float(grain.std()))
        means.append(float(other.mean()))
        slow.append(gaussian_filter(other, 2.0))
    assert grains[0] > 1.3 * grains[1] > 1.5 * grains[2]
    assert means[0] > means[1] > means[2]
    for one in (slow[0], slow[2]):
        assert np.corrcoef(one.ravel(), slow[1].ravel())[0, 1] > 0.97
    np.testing.assert_array_equal(expose(anatomy, Findings(), view, None, exposure, seed, 0), picture)


@given(st.integers(0, 10_000), st.sampled_from(["PA", "AP"]), st.permutations(DEVICES))
@settings(max_examples=10, deadline=None)
def test_devices_lie_where_they_belong_and_leave_each_other_alone(seed: int, view: View, order: list[Device]) -> None:
    _, anatomy, exposure = simulate(0, 0, seed, SIZE, view=view)
    x, y = coordinates(exposure)

    def dense(*devices: Device) -> Float[np.ndarray, "y x"]:
        taken = replace(exposure, devices=devices)
        return frontal(anatomy, Findings(), view, None, taken, np.random.SeedSequence(seed)).astype(float)

    bare = dense()
    added = {kind: dense(kind) - bare for kind in DEVICES}
    first, second = order[:2]
    np.testing.assert_allclose(dense(first, second) - bare, added[first] + added[second], atol=1e-4)
    s = anatomy.scale
    seen = {kind: np.abs(values) > 0.1 for kind, values in added.items()}
    assert (np.abs(x[seen["tube"]]) < 1.5).all()
    assert y[seen["tube"]].max() < 8.0 * s  # above the carina
    tip = y == y[seen["line"]].max()
    assert (x[seen["line"] & tip] < 0).all()  # the superior vena cava is on the right
    assert x[added["pacemaker"] > 1.5].min() > 6 * s  # the case, below the left clavicle
    for kind, where in seen.items():
        assert 0 < where.mean() < 0.1, kind


def test_devices_are_those_of_the_bedside_and_doses_mostly_right() -> None:
    anatomy = replace(simulate(0, 0, 1, SIZE)[1], pacemaker=False)
    seeds = list(map(np.random.SeedSequence, range(400)))
    at_bedside = [draw_exposure(anatomy, "AP", SIZE, SCANNERS[0], seed) for seed in seeds]
    assert {kind for exposure in at_bedside for kind in exposure.devices} == {"cables", "tube", "line"}
    upright = [draw_exposure(anatomy, "PA", SIZE, SCANNERS[0], seed) for seed in seeds]
    assert {exposure.devices for exposure in upright} == {()}
    worn = draw_exposure(replace(anatomy, pacemaker=True), "LL", SIZE, SCANNERS[0], seeds[0])
    assert worn.devices == ("pacemaker",)
    doses = np.abs([exposure.dose for exposure in at_bedside])
    assert doses.max() <= 2.5
    assert 0.02 < (doses > 1.1).mean() < 0.12


def test_the_table_tells_of_the_image(usual: tuple[Path, pd.DataFrame]) -> None:
    images, table = usual
    borders = 0
    for row, planned in zip(table.to_dict("records"), plan_cohort(COUNT, SEED, lateral_share=0.0), strict=True):
        header = pydicom.dcmread(images / row["file"])
        person = {"sex": planned["sex"], "age": planned["first_age"], "view": planned["view"]}
        _, anatomy, exposure = simulate(
            planned["patient"], planned["index"], SEED, SIZE, **person, scanner=SCANNERS[planned["scanner"]]
        )
        assert row["scanner"] == header.ManufacturerModelName == exposure.scanner.model
        spacing = header.get("ImagerPixelSpacing") or header.PixelSpacing
        assert spacing[0] == pytest.approx(10 * exposure.pixel_cm, abs=1e-5)
        assert float(row["exposure"]) == exposure.dose
        if row["trouble"] == "empty":
            continue
        assert row["device"] == ("+".join(exposure.devices) or "none")
        assert row["collimated"] == str(int(any(exposure.border)))
        assert row["effusion_side"] in ("", {1: "L", -1: "R"}[anatomy.effusion_side])
        if row["trouble"] == "" and "PixelPaddingValue" in header:
            assert row["collimated"] == "1"
            borders += int((header.pixel_array == header.PixelPaddingValue).any())
    assert borders > 0


def test_a_crop_is_a_part_of_the_same_picture(written: Written, usual: tuple[Path, pd.DataFrame]) -> None:
    images, table = usual
    cut_images, cut = written(cropped_share=1.0)
    pd.testing.assert_frame_equal(
        table.drop(columns=["cropped", "collimated"]), cut.drop(columns=["cropped", "collimated"])
    )
    ordinary = table["truth"].isin(["normal", *FINDINGS])
    assert (cut["cropped"] == np.where(ordinary, "1", "0")).all()
    for file in table.loc[ordinary, "file"][:20]:
        whole, part = pydicom.dcmread(images / file), pydicom.dcmread(cut_images / file)
        large, small = whole.pixel_array, part.pixel_array
        assert small.size < 0.95 * large.size
        windows = np.lib.stride_tricks.sliding_window_view(large, small.shape)
        assert (windows == small).all(axis=(2, 3)).any()
        for keyword in ("ImagerPixelSpacing", "PixelSpacing", "SOPInstanceUID"):
            assert whole.get(keyword) == part.get(keyword)


def test_the_orientation_tag_undoes_what_it_says(written: Written, usual: tuple[Path, pd.DataFrame]) -> None:
    images, table = usual
    turned_images, turned = written(disoriented_share=1.0)
    pd.testing.assert_frame_equal(table.drop(columns="orientation"), turned.drop(columns="orientation"))
    assert set(table["orientation"]) == {"LF"}
    assert set(turned.loc[turned["trouble"] == "", "orientation"]) == {"RF", "FR", "RH", "HL"}
    for one, two in zip(_read(images, table), _read(turned_images, turned), strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)


@pytest.mark.parametrize("view", VIEWS)
def test_orientations_name_whither_rows_and_columns_run(view: View) -> None:
    across, down = np.meshgrid(np.arange(5), np.arange(4))
    along = {"L": across, "R": -across, "P": across, "A": -across, "F": down, "H": -down}
    assert len(set(orientations(view))) == 5
    for orientation in orientations(view):
        assert (np.diff(laid(along[orientation[0]], view, orientation), axis=1) == 1).all()
        assert (np.diff(laid(along[orientation[1]], view, orientation), axis=0) == 1).all()
        # The sensor is read from the tube's side; what the header says was done to it gives what is stored.
        upright = 10 * down + across
        sensor = upright if view == "AP" else upright[:, ::-1]
        degrees, flipped = field_of_view(view, orientation)
        stored = np.rot90(sensor, -degrees // 90)
        np.testing.assert_array_equal(laid(upright, view, orientation), stored[:, ::-1] if flipped else stored)


def test_laterals_replace_no_other_image(written: Written, usual: tuple[Path, pd.DataFrame]) -> None:
    images, table = usual
    side_images, side = written(lateral_share=0.4)
    lateral = side["view"] == "LL"
    assert 8 < lateral.sum() < 26
    pd.testing.assert_frame_equal(table[~lateral], side[~lateral])
    for file in table.loc[~lateral, "file"]:
        assert (images / file).read_bytes() == (side_images / file).read_bytes()
    assert (side.loc[lateral, list(FINDINGS)] == "").all(axis=None)
    assert (side.loc[lateral, ["truth", "orientation"]] == ["lateral", "PF"]).all(axis=None)
    assert (side.loc[lateral, "study_id"] != table.loc[lateral, "study_id"]).any()  # taken with the PA before


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_a_lateral_shows_the_spine_at_the_back_and_the_heart_in_front(seed: int) -> None:
    picture, anatomy, exposure = simulate(0, 0, seed, SIZE, view="LL")
    x, y = coordinates(exposure)
    low = (y > 0.68 * anatomy.lung_height) & (y < 0.8 * anatomy.lung_height)
    deep = anatomy.depth
    heart = picture[low & (np.abs(x + 0.2 * deep) < 1.5)].mean()
    behind_heart = picture[low & (np.abs(x - 0.12 * deep) < 1.0)].mean()
    assert heart > behind_heart + 0.05
    high = (y > 0.45 * anatomy.lung_height) & (y < 0.6 * anatomy.lung_height)
    at = 0.27 * deep + 0.9 * anatomy.scale * np.sin((y - 1.0) / (8 * anatomy.scale))
    spine = picture[high & (np.abs(x - at) < 1.0)].mean()
    before_it = picture[high & (np.abs(x - at + 3.5) < 1.0)].mean()
    assert spine > before_it + 0.03


def test_sites_are_entangled_or_independent_as_asked() -> None:
    for sites, by_scanner, by_label in ((SITES, True, True), (SAME_SCANNERS, False, True), (INDEPENDENT, False, False)):
        plan = pd.DataFrame(plan_cohort(1600, 2, sites=sites))
        shares = plan.groupby("site")["scanner"].value_counts(normalize=True).unstack()
        assert (np.abs(shares.loc["A"] - shares.loc["B"]).max() > 0.3) == by_scanner
        ill = (plan["effusion_severity"] > 0).groupby(plan["site"]).mean()
        assert (abs(ill["A"] - ill["B"]) > 0.3) == by_label
        assert abs((plan["site"] == "A").mean() - 0.5) < 0.06


def test_only_the_scanner_changes_with_the_scanner(written: Written, usual: tuple[Path, pd.DataFrame]) -> None:
    images, table = usual
    other_images, other = written(sites=SAME_SCANNERS)
    same = table["scanner"] == other["scanner"]
    assert 5 < same.sum() < COUNT
    about = ["scanner", "view_said"]
    pd.testing.assert_frame_equal(table.drop(columns=about), other.drop(columns=about))
    for file in table.loc[same, "file"]:
        assert (images / file).read_bytes() == (other_images / file).read_bytes()


def test_scanners_differ_in_spacing_noise_and_edges() -> None:
    pictures = [simulate(0, 0, 5, SIZE, scanner=scanner) for scanner in SCANNERS]
    assert len({exposure.pixel_cm for _, _, exposure in pictures}) == len(SCANNERS)
    for picture, _, _ in pictures[1:]:
        assert picture.shape == pictures[0][0].shape
        assert np.corrcoef(gaussian_filter(picture, 3).ravel(), gaussian_filter(pictures[0][0], 3).ravel())[0, 1] > 0.9
    fine = [float((picture - gaussian_filter(picture, 1.0)).std()) for picture, _, _ in pictures]
    assert fine[2] > 1.2 * fine[0]  # edges enhanced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lateral_share": 1.5}, "lateral_share = 1.5"),
        ({"disoriented_share": -0.1}, "disoriented_share = -0.1"),
        ({"cropped_share": float("nan")}, "cropped_share = nan"),
        ({"sites": ()}, r"sites = \[\]"),
        ({"sites": (SITES[0], SITES[0])}, "a name of its own"),
    ],
)
def test_mistaken_options_are_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_radiographs(tmp_path, 10, 1, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (("St. Elsewhere", 0.2, (1.0, 0.0, 0.0), False), "letters and digits"),
        (("A", 0.9, (1.0, 0.0, 0.0), False), "effusion = 0.9"),
        (("A", 0.2, (0.5, 0.0, 0.0), False), "of sum 1"),
    ],
)
def test_an_impossible_site_is_named(site: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Site(*site)
