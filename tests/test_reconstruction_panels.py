"""Pictures of methods that reconstruct: in source units, beside PCA, and arrows that are what they say."""

import pytest
import torch
from reconstruction_cases import encoder_of, images_of, method_of
from sklearn.decomposition import PCA
from synthetic_stores import blobs
from tiny_methods import BANDS, batch_of, drawing

from domainssl.method_options import AutoencoderOptions, DenoisingOptions
from domainssl.methods.corruption import corrupted
from domainssl.methods.method import Method, Panel
from domainssl.options import PretrainOptions

CODES = AutoencoderOptions(codes=(2, 5))


def shown(method: Method, images: torch.Tensor, seed: int = 0) -> tuple[Panel, ...]:
    method.eval()
    with torch.no_grad():
        panels = method.panels((batch_of(images),), drawing(seed))
    for panel in panels:
        assert torch.isfinite(panel.values).all()
        assert not panel.values.requires_grad
        assert panel.values.dtype == torch.float32
        if panel.kind != "arrows":
            assert len(panel.rows) in (0, panel.values.shape[0])
            assert len(panel.columns) in (0, panel.values.shape[1])
        if panel.kind == "maps":
            assert 0 <= panel.values.min() <= panel.values.max() <= 1
    return panels


@pytest.mark.parametrize("bands", [1, 5])
def test_reconstructions_and_pca_side_by_side_in_source_units(bands):
    images = torch.from_numpy(blobs(12, bands, 16))
    method = method_of(
        encoder_of("dense_8", bands, sample=images, stretch="asinh"),
        PretrainOptions(method="autoencoder", autoencoder=CODES),
    )
    with torch.no_grad():
        method.bottlenecks.layers["2"].weight.mul_(30)  # codes so far apart that the decoder bends between them
    first, way = shown(method, images)
    assert first.kind == way.kind == "images"
    assert first.columns == ("image", "code of 2", "PCA, 2", "code of 5", "PCA, 5")
    assert first.values.shape == (8, 5, bands, 16, 16)
    torch.testing.assert_close(first.values[:, 0], images[:8], rtol=1e-3, atol=1e-3)

    encoder = method.encoder
    normalised = encoder.normalised(images)
    with torch.no_grad():
        found = encoder.source_values(method.bottlenecks(encoder.pooled(images))[5])
    torch.testing.assert_close(first.values[:, 3], found[:8], rtol=1e-3, atol=1e-3)
    rows = normalised.flatten(1).numpy()
    pca = PCA(5, svd_solver="full").fit(rows)
    expected = torch.from_numpy(pca.inverse_transform(pca.transform(rows))).float().view_as(images)
    torch.testing.assert_close(encoder.normalised(first.values[:, 4]), expected[:8], rtol=1e-3, atol=1e-3)

    assert way.rows == ("code of 2", "code of 5", "PCA, 5")
    assert way.columns[0] == "0.00"
    assert way.columns[-1] == "1.00"
    for row, column in ((0, 1), (1, 3), (2, 4)):  # the ends are the reconstructions of the first two images
        ends = way.values[row, [0, -1]]
        torch.testing.assert_close(ends, first.values[:2, column], rtol=1e-3, atol=1e-3)
    code = method.bottlenecks.code(encoder.pooled(images[:2]), 2)
    with torch.no_grad():
        middle = encoder.source_values(method.bottlenecks.decoded(code.mean(0, keepdim=True)))
    torch.testing.assert_close(way.values[0, 3], middle[0], rtol=1e-3, atol=1e-3)
    faded = encoder.source_values(encoder.normalised(way.values[0, [0, -1]]).mean(0, keepdim=True))
    assert (middle - faded).abs().max() > 0.1, "a fade of two images, no way between codes"


def test_more_dimensions_than_images_and_a_single_image():
    options = PretrainOptions(method="autoencoder", autoencoder=AutoencoderOptions(codes=(2, 32)))
    method = method_of(encoder_of("dense_8"), options)
    images = images_of(3)
    first, _ = shown(method, images)
    torch.testing.assert_close(first.values[:, 4], images)  # PCA has all of them exactly
    assert [panel.title for panel in shown(method, images[:1])] == [first.title]


@pytest.mark.parametrize("name", ["sigmoid_64", "test_efficientnet"])
def test_denoising_shows_what_was_corrupted_and_where_the_way_leads_back(name):
    options = PretrainOptions(
        method="denoising_autoencoder",
        autoencoder=CODES,
        denoising_autoencoder=DenoisingOptions(corruption="gaussian", strength=2.0),
    )
    method = method_of(encoder_of(name, 2, 32), options)
    images = images_of(10, 2, 32)
    panels = shown(method, images, seed=3)
    dense = name == "sigmoid_64"
    assert [panel.kind for panel in panels] == ["images", *(["maps"] if dense else []), "arrows"]
    assert panels[0].columns == ("image", "corrupted", "code of 2", "code of 5")
    encoder = method.encoder
    noisy, _ = corrupted(encoder.normalised(images), batch_of(images).valid, method.options, drawing(3))
    torch.testing.assert_close(encoder.normalised(panels[0].values[:, 1]), noisy[:8], rtol=1e-4, atol=1e-4)

    arrows = panels[-1].values
    with torch.no_grad():
        codes = method.bottlenecks.code(encoder.pooled(images), 2)
        decoded = method.bottlenecks.decoded(arrows[:, :2])
        ends = method.bottlenecks.code(encoder.pooled(encoder.source_values(decoded)), 2)
    torch.testing.assert_close(arrows[:, 2:], ends, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(arrows[:, :2].amin(0), codes.amin(0))
    torch.testing.assert_close(arrows[:, :2].amax(0), codes.amax(0))
    assert len(arrows.unique(dim=0)) == len(arrows) == 15**2


def test_without_a_code_of_two_numbers_there_are_no_arrows():
    options = PretrainOptions(method="denoising_autoencoder", autoencoder=AutoencoderOptions(codes=(5,)))
    assert [panel.kind for panel in shown(method_of(encoder_of("dense_8"), options), images_of(4))] == [
        "images",
        "maps",
    ]


@pytest.mark.parametrize(("bands", "lines"), [(1, 4), (2, 4), (5, 5)])
def test_filters_are_those_with_the_largest_weights_a_line_a_band(bands, lines):
    method = method_of(encoder_of("sigmoid_64", bands), PretrainOptions(method="sparse_autoencoder"))
    weight = method.encoder.network.stem.weight
    with torch.no_grad():
        weight[7] *= 10
    maps = shown(method, images_of(4, bands))[-1]
    assert maps.values.shape == (lines, 16, 16, 16)
    assert maps.rows == BANDS[:bands] * (lines // bands)
    expected = weight[7] / weight[7].abs().max() / 2 + 0.5
    torch.testing.assert_close(maps.values[:bands, 0], expected.detach())


@pytest.mark.parametrize("method", ["linear_autoencoder", "sparse_autoencoder", "contractive_autoencoder"])
def test_the_others_show_reconstructions_and_filters(method):
    panels = shown(method_of(encoder_of("dense_8"), PretrainOptions(method=method)), images_of(4))
    assert [panel.kind for panel in panels] == ["images", "maps"]
    torch.testing.assert_close(panels[0].values[:, 0], images_of(4))
