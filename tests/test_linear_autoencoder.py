"""The linear autoencoder against scikit-learn's PCA: the error it ends at, and the space it spans."""

import numpy as np
import pytest
import torch
from reconstruction_cases import encoder_of, images_of, method_of
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from tiny_methods import batch_of, drawing

from domainssl.methods.linear_autoencoder import LinearAutoencoder
from domainssl.options import PretrainOptions
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo

OPTIONS = PretrainOptions(method="linear_autoencoder")
CODES = 8


def data_with_gap(bands: int, size: int, gap: float, seed: int) -> torch.Tensor:
    """Images whose covariance has its 8th eigenvalue `gap` times the 9th, and a mean far from the network's zero."""
    rng = np.random.default_rng(seed)
    pixels, count = bands * size**2, 60
    rows = rng.normal(size=(count, pixels))
    left, _, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    variances = count * pixels / 20 * 0.9 ** np.arange(len(right))
    variances[CODES:] *= variances[CODES - 1] / gap / variances[CODES]
    made = left * np.sqrt(variances) @ right + rng.uniform(0.2, 1, size=pixels)
    return torch.from_numpy(made.astype(np.float32)).view(count, bands, size, size)


@pytest.mark.parametrize(("bands", "size", "gap", "seed"), [(1, 8, 1.06, 0), (5, 4, 1.06, 1), (1, 8, 2.0, 2)])
def test_it_becomes_principal_component_analysis(bands, size, gap, seed):
    images = data_with_gap(bands, size, gap, seed)
    method = method_of(encoder_of("dense_8", bands, size, seed=seed), OPTIONS, seed)
    assert isinstance(method, LinearAutoencoder)
    optimiser = torch.optim.LBFGS(
        method.parameters(), max_iter=300, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = method((batch_of(images),), drawing()).losses["model"]
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        found = float(method((batch_of(images),), drawing()).losses["model"])
        rows = method.encoder.normalised(images).flatten(1).double().numpy()
    pca = PCA(CODES, svd_solver="full").fit(rows)
    eigenvalues = PCA(svd_solver="full").fit(rows).explained_variance_
    assert eigenvalues[CODES - 1] / eigenvalues[CODES] == pytest.approx(gap, rel=1e-3)
    expected = np.square(rows - pca.inverse_transform(pca.transform(rows))).mean()
    assert found == pytest.approx(expected, rel=1e-3)
    spanned = method.decoder[0].weight.detach().double().numpy()
    assert np.degrees(subspace_angles(spanned, pca.components_.T)[0]) < 1


@pytest.mark.parametrize("name", ["sigmoid_64", "test_efficientnet"])
def test_only_a_dense_layer_without_activation(name):
    with pytest.raises(
        ValueError, match=rf"^encoder.name: linear_autoencoder needs .* {name} is none; give 'dense_32'$"
    ):
        method_of(encoder_of(name, 1, 32), OPTIONS)


def test_invalid_pixels_do_not_count():
    method = method_of(encoder_of("dense_8"), OPTIONS)
    images, valid = images_of(4), torch.rand(4, 1, 16, 16, generator=drawing(1)) < 0.7
    step = method((batch_of(images, valid),), drawing())
    target = method.encoder.normalised(images)
    squares = (method.reconstructed(target) - target).square()[valid.expand_as(target)]
    torch.testing.assert_close(step.losses["model"], squares.mean())


def test_it_sees_one_view_of_the_frame_alone():
    crop = AffineCrop(16, rotation=10.0)
    assert method_of(encoder_of("dense_8"), OPTIONS).policies((crop, NoiseTo(2.0))) == ((crop,),)


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = method_of(encoder_of("dense_8"), OPTIONS)
    grouped = [id(parameter) for group in method.players()["model"] for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    method((batch_of(images_of(4)),), drawing()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
