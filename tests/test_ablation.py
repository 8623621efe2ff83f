"""Policies with parts switched off: what stays, what goes, what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from domainssl.store import Batch
from domainssl.views.ablation import PARTS, parts, without
from domainssl.views.affine_crop import AffineCrop, whole_frame
from domainssl.views.blur_to import BlurTo
from domainssl.views.brightness import Brightness
from domainssl.views.operation import Policy, apply_policy
from pipelines.domains import DOMAINS

SIZE = 24
POLICIES: dict[str, Policy] = {
    "galaxies, linear": DOMAINS["galaxies"].views("linear", ("g", "r", "z"), SIZE, sided=False),
    "galaxies, display": DOMAINS["galaxies"].views("display", ("r", "g", "b"), SIZE, sided=False),
    "chest radiographs": DOMAINS["chest_xrays"].views("display", ("x",), SIZE, sided=False),
    "chest radiographs, sided": DOMAINS["chest_xrays"].views("display", ("x",), SIZE, sided=True),
}


def example(bands: int, side: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(5, bands, side, side, generator=generator)
    nuisance = {"sky_sigma": torch.full((5, bands), 0.1), "ebv": torch.full((5, bands), 0.05)}
    return Batch(images, torch.ones(5, 1, side, side, dtype=torch.bool), nuisance, torch.arange(5))


def views(policy: Policy, bands: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    return apply_policy(policy, example(bands, side), torch.Generator().manual_seed(seed)).images


def bands_of(name: str) -> int:
    return 1 if name.startswith("chest") else 3


@pytest.mark.parametrize("name", POLICIES)
def test_without_nothing_is_the_policy(name: str) -> None:
    assert without(POLICIES[name], ()) == POLICIES[name]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("side", [12, 24, 32, 70])  # enlarged, as it is, a little and much reduced
def test_without_all_parts_every_view_is_the_whole_frame(name: str, side: int) -> None:
    bare = without(POLICIES[name], parts(POLICIES[name]))
    assert parts(bare) == ()
    expected = views((whole_frame(SIZE),), bands_of(name), side)
    for seed in range(3):
        torch.testing.assert_close(views(bare, bands_of(name), side, seed), expected, rtol=1e-5, atol=1e-6)


@given(st.sampled_from(sorted(POLICIES)), st.data())
def test_order_and_repetition_mean_nothing_and_the_other_parts_stay(name: str, data: st.DataObject) -> None:
    policy = POLICIES[name]
    taken = data.draw(st.lists(st.sampled_from(parts(policy))))
    left = without(policy, taken)
    assert parts(left) == tuple(part for part in parts(policy) if part not in taken)
    assert without(policy, data.draw(st.permutations(taken))) == left
    one_by_one = policy
    for part in dict.fromkeys(taken):
        one_by_one = without(one_by_one, [part])
    assert one_by_one == left


@pytest.mark.parametrize("name", POLICIES)
def test_every_part_of_a_policy_changes_its_views(name: str) -> None:
    policy = POLICIES[name]
    whole = views(policy, bands_of(name))
    for part in parts(policy):
        assert not torch.equal(views(without(policy, [part]), bands_of(name)), whole), part


def test_parts_are_what_the_domains_do() -> None:
    frame = ("rotation", "flip", "crop", "shift")
    assert parts(POLICIES["galaxies, linear"]) == (*frame, "blur", "noise", "reddening")
    assert parts(POLICIES["galaxies, display"]) == (*frame, "brightness", "blur", "noise")
    assert parts(POLICIES["chest radiographs"]) == (*frame, "brightness", "blur", "noise", "erase")
    assert "flip" not in parts(POLICIES["chest radiographs, sided"])
    assert {part for policy in POLICIES.values() for part in parts(policy)} == set(PARTS)


def test_each_part_of_the_frame_is_one_of_its_fields() -> None:
    frame = AffineCrop(SIZE, rotation=10.0, flip=0.5, field=(0.7, 1.0), shift=0.1, outside="zeros")
    assert without((frame,), ["rotation", "shift"]) == (AffineCrop(SIZE, flip=0.5, field=(0.7, 1.0), outside="zeros"),)
    assert without((frame,), ["crop", "flip"]) == (AffineCrop(SIZE, rotation=10.0, shift=0.1, outside="zeros"),)


def test_a_part_that_is_not_there_is_named_with_what_there_is() -> None:
    policy: Policy = (AffineCrop(SIZE, rotation=10.0), BlurTo(2.0), Brightness())
    for name in ("erase", "flip", "blurr"):
        with pytest.raises(ValueError, match=f"without: '{name}' is no part .* it has rotation, brightness, blur$"):
            without(policy, ["blur", name])
    with pytest.raises(ValueError, match="it has nothing to switch off"):
        without((whole_frame(SIZE),), ["blur"])
