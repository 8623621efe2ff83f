"""The page's section on saliency: first whether maps show more than the image, beside it that they locate badly; no
colour where nothing may be shown; every text from outside escaped."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.saliency import LOCALISATION, SaliencyLabel, overlay, place, saliency_link, saliency_section


def facts(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "unsigned": abs(value), "objects": 12, "randomisations": 4}


def label(count: int = 2) -> SaliencyLabel:
    rng = np.random.default_rng(0)
    item = {"object_id": "<img>7", "of": "<yes>", "score": 0.91, "answer": "no", "truth": "<it>", "right": False}
    items = [{**item, "why": "surest wrong", "empty": number == 1} for number in range(count)]
    maps = rng.uniform(size=(count, 32, 32)).astype(np.float32)
    maps[1:] = 0
    pictures = rng.integers(256, size=(count, 32, 32, 3)).astype(np.uint8)
    return SaliencyLabel(
        "<sick>", "By <hand>.", "passed", facts(0.05, -0.1, 0.2), facts(0.02, -0.2, 0.3), items, pictures, maps
    )


@pytest.mark.parametrize(
    ("verdict", "encoders", "words", "state"),
    [
        ("passed", facts(0.05, -0.1, 0.2), "was passed", "better"),
        ("image", facts(0.9, 0.8, 0.95), "These maps show the image, not what was learnt.", "worse"),
        ("open", facts(0.4, 0.2, 0.6), "is not clear", "unknown"),
        ("few", facts(0.4, np.nan, np.nan), "not estimable: too few objects", "unknown"),
    ],
)
def test_the_finding_leads_with_its_numbers(verdict: Any, encoders: Any, words: str, state: str) -> None:
    text = saliency_section([replace(label(), verdict=verdict, encoders=encoders)])
    assert f'<div class="verdict {state}">' in text
    assert words in text
    first = text.index("<h3>")
    assert first < text.index(words) < text.index(LOCALISATION) < text.index('<ul class="saliency">')
    value = f"{encoders['value']:.2f}"
    assert (f"{value} (no interval)" if verdict == "few" else f"{value} (") in text
    assert "12 objects" in text
    assert "those of 4 random encoders" in text


def test_texts_from_outside_are_escaped_and_pictures_are_told_in_words() -> None:
    text = saliency_section([label()])
    assert not any(raw in text for raw in ("<img>", "<yes>", "<it>", "<sick>", "<hand>"))
    assert text.count('alt="Image of &lt;img&gt;7"') == 2
    assert "Map for &lt;yes&gt; over the image of &lt;img&gt;7: most of it " in text
    assert "&lt;img&gt;7: nothing speaks for it" in text
    assert "wrong: it is &lt;it&gt;" in text
    assert "answer: no" in text
    assert text.count("data:image/webp;base64,") == 4
    assert "not localisation" in text


def test_no_maps_give_no_section_and_odd_numbers_of_them_are_refused() -> None:
    assert saliency_section([]) == saliency_link([]) == ""
    assert "#saliency" in saliency_link([label()])
    assert "No object of the test half" in saliency_section([label(0)])
    with pytest.raises(ValueError, match="<sick>: 2 pictures and 2 maps for 1 objects"):
        replace(label(), items=label().items[:1])


def test_heads_without_a_say_are_not_asked() -> None:
    text = saliency_section([replace(label(), heads=None)])
    assert "Heads have no say in them." in text
    assert "permuted" not in text


def test_nothing_is_laid_over_pixels_without_a_map() -> None:
    picture = np.random.default_rng(0).integers(256, size=(30, 30, 3)).astype(np.uint8)
    values = np.ones((30, 30))
    values[:, 10:] = np.nan
    values[:, 5:10] = 0
    found = overlay(picture, values)
    np.testing.assert_array_equal(found[:, 10:], picture[:, 10:])
    assert (np.ptp(found[:, 5:10].astype(int), axis=2) == 0).all()  # grey where a map is 0
    assert (found[:, :5, 0].astype(int) - found[:, :5, 2] > 20).all()  # yellow where it is 1


def test_a_place_is_named_by_thirds() -> None:
    values = np.full((30, 30), np.nan)
    values[2:6, 24:28] = 1
    assert place(values) == "upper right"
    assert place(np.flipud(values)) == "lower right"
    assert place(np.where(np.isnan(values), np.nan, 0)) == "nowhere"
    middle = np.zeros((30, 30))
    middle[15, 15] = 1
    assert place(middle) == "middle centre"


def test_a_map_in_which_no_place_stands_out_says_so() -> None:
    even = np.full((2, 32, 32), 0.9, np.float32)
    even[:, 0, 0] = 1
    even[1] = np.nan
    assert saliency_section([replace(label(), maps=even)]).count("nearly even: no place stands out") == 1
    assert "nearly even" not in saliency_section([label()])
