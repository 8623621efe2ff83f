"""Blocks of I-JEPA: apart from one another, everywhere in the grid alike, and drawn in the end whatever is asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.methods.blocks import draw_blocks

USUAL = ((0.15, 0.2), (0.85, 1.0))


def shares() -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(lambda pair: (min(pair), max(pair)))


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 6),
    grid=st.integers(2, 16),
    targets=st.integers(1, 6),
    target_area=shares(),
    context_area=shares(),
    seed=st.integers(0, 2**31),
)
def test_context_and_targets_never_overlap_and_something_is_seen(count, grid, targets, target_area, context_area, seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = draw_blocks(count, grid, targets, target_area, context_area, generator)
    assert blocks.context.shape[0] == blocks.targets.shape[0] == count
    assert blocks.context.shape[1] >= 1
    assert blocks.targets.shape[1] == targets
    for context, asked in zip(blocks.context, blocks.targets, strict=True):
        seen = set(context.tolist())
        assert len(seen) == len(context)
        assert min(seen) >= 0
        assert max(seen) < grid**2
        assert not seen & set(asked.flatten().tolist())
        for block in asked:
            rows, columns = block // grid, block % grid
            height, width = (int(x.max() - x.min() + 1) for x in (rows, columns))
            assert len(set(block.tolist())) == len(block) == height * width
            assert rows.min() >= 0
            assert rows.max() < grid
            assert block.tolist() == sorted(block.tolist())


@pytest.mark.parametrize("grid", range(4, 17))
def test_every_row_and_column_is_used_and_neither_side_is_preferred(grid):
    """The reference's masks never use the last row and column, and cut contexts off from the bottom."""
    generator = torch.Generator().manual_seed(grid)
    context, target = torch.zeros(2, grid, grid)
    for _ in range(60):
        blocks = draw_blocks(16, grid, 4, *USUAL, generator)
        context += torch.bincount(blocks.context.flatten(), minlength=grid**2).view(grid, grid)
        target += torch.bincount(blocks.targets.flatten(), minlength=grid**2).view(grid, grid)
    for used in (context, target):
        assert (used > 0).all()
        for lines in (used.sum(0), used.sum(1)):
            first, second = lines[: grid // 2].sum(), lines[-(grid // 2) :].sum()
            assert float(first / second) == pytest.approx(1, abs=0.06)
            assert float(lines[0] / lines[-1]) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("grid", [8, 14])
def test_blocks_have_the_sizes_that_were_asked_for(grid):
    generator = torch.Generator().manual_seed(0)
    areas, ratios, seen = [], [], []
    for _ in range(200):
        blocks = draw_blocks(4, grid, 4, *USUAL, generator)
        block = blocks.targets[0, 0]
        height, width = (int(x.max() - x.min() + 1) for x in (block // grid, block % grid))
        areas.append(len(block) / grid**2)
        ratios.append(height / width)
        seen.append(blocks.context.shape[1] / grid**2)
    assert min(areas) >= 0.1
    assert max(areas) <= 0.25
    assert sum(areas) / len(areas) == pytest.approx(0.175, abs=0.02)
    assert min(ratios) < 0.9
    assert max(ratios) > 1.3
    assert max(seen) < 0.85
    assert sum(seen) / len(seen) > 0.2


def test_images_of_a_batch_have_blocks_of_their_own_and_the_draw_is_the_generators():
    first, again = (draw_blocks(8, 8, 4, *USUAL, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.context, again.context)
    assert torch.equal(first.targets, again.targets)
    assert len({tuple(image.flatten().tolist()) for image in first.targets}) == 8


def test_one_patch_cannot_be_seen_and_predicted():
    with pytest.raises(ValueError, match="a grid of at least 2 patches a side, the images have 1"):
        draw_blocks(2, 1, 4, *USUAL, torch.Generator())
