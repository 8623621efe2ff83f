"""Objects of the simulated survey against rendering each with GalSim, on one core, in one run: a ratio."""

import time

import numpy as np
import pytest

from catalogs.samples.galaxy_models import draw_galaxy, draw_neighbours
from catalogs.samples.survey import survey
from catalogs.samples.survey_parents import BLOCK, SurveyOptions, load_parents, render

OPTIONS = SurveyOptions(size=128, parents=20)
ROUNDS, OURS, THEIRS = 5, 128, 8


def by_galsim(seed: int) -> np.ndarray:
    """One object with its neighbours and noise, nothing kept from another."""
    rng = np.random.default_rng(seed)
    galaxy = draw_galaxy(BLOCK[seed % 8], rng)
    image = render((*galaxy.components, *draw_neighbours(OPTIONS.size, rng)), OPTIONS, OPTIONS.size)
    return image + OPTIONS.sky_sigma[:, None, None] * rng.normal(size=image.shape)


@pytest.mark.slow
def test_objects_are_made_faster_than_by_galsim(tmp_path, capsys):
    parents = load_parents(OPTIONS, tmp_path)
    ours, theirs = [], []
    for turn in range(ROUNDS + 1):  # in turns, by CPU time: other load on the machine meets both alike
        start = time.process_time()
        for _ in survey(OPTIONS, parents, turn * OURS, (turn + 1) * OURS):
            pass
        middle = time.process_time()
        for seed in range(THEIRS):
            by_galsim(turn * THEIRS + seed)
        if turn:  # the first is warm-up
            ours.append((middle - start) / OURS)
            theirs.append((time.process_time() - middle) / THEIRS)
    ratio = np.median(theirs) / np.median(ours)
    with capsys.disabled():
        print(f"\nsurvey {1 / np.median(ours):.0f} objects/s, GalSim {1 / np.median(theirs):.1f}: {ratio:.1f}x")
    assert ratio >= 4
