"""Methods around tiny encoders, and views of random images, for tests of those that reconstruct."""

from typing import Any, Literal

import timm
import torch
from tiny_methods import BANDS, batch_of, made
from torch import nn

from domainssl.encoders import InputSpec, TimmEncoder
from domainssl.options import PretrainOptions
from domainssl.store import Batch

SIZE, PATCH = 32, 8


def small_encoder(
    name: str = "test_efficientnet", bands: int = 5, stretch: Literal["none", "asinh", "linear"] = "asinh"
) -> TimmEncoder:
    """Random weights, and an input that is normalised otherwise in every band."""
    sized = {"img_size": SIZE, "patch_size": PATCH} if name == "test_vit" else {}
    if name.startswith("dense_"):
        sized = {"img_size": SIZE}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, in_chans=bands, num_classes=0, **sized)
    rising = [1.0 + band / 4 for band in range(bands)]
    scale = tuple(rising) if stretch != "none" else (1.0,) * bands
    mean, std = tuple(0.3 * x for x in rising), tuple(0.5 * x for x in reversed(rising))
    return TimmEncoder(name, network, InputSpec(BANDS[:bands], SIZE, stretch, scale, mean, std, "p")).eval()


def small_method(name: str, encoder: TimmEncoder, **options: Any) -> Any:
    return made(name, encoder, PretrainOptions(method=name, **options))


def view_of(count: int = 4, bands: int = 5, seed: int = 0) -> Batch:
    """Images of values from -1 to 4, all of them valid."""
    images = 5 * torch.rand(count, bands, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) - 1
    return batch_of(images)


def assert_each_trained_by_its_player(method: nn.Module, losses: dict[str, torch.Tensor], unused: set[str]) -> None:
    """Every parameter has one player; each player's loss reaches all of its own, but for the `unused`."""
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    groups: dict[str, Any] = method.players()  # type: ignore[operator]
    own = {player: [p for group in parts for p in group.parameters] for player, parts in groups.items()}
    assert sorted(id(p) for parts in own.values() for p in parts) == sorted(names)
    assert losses.keys() == own.keys()
    for player, parameters in own.items():
        found = torch.autograd.grad(losses[player], parameters, retain_graph=True, allow_unused=True)
        without = {names[id(p)] for p, gradient in zip(parameters, found, strict=True) if gradient is None}
        assert without == unused, player
