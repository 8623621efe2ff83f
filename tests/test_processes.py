"""Two processes that train one model give the loss and the gradients of one process with the whole batch.

Both get their halves of the same views. A new method that compares images: one line in `METHODS_THAT_COMPARE`.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from synthetic_stores import blobs
from tiny_methods import SMALL, batch_of, convolutional, made
from torch import distributed, multiprocessing

from domainssl.method_options import CPCOptions, DINOOptions, MoCoOptions
from domainssl.methods.method import Method
from domainssl.methods.registry import METHODS
from domainssl.pretraining import set_modes
from domainssl.processes import average_gradients, mean, rank, world
from domainssl.store import Batch
from domainssl.views.affine_crop import whole_frame

# How many views each is given.
METHODS_THAT_COMPARE = {
    "simclr": 2,
    "moco": 2,
    "cpc": 1,
    "deep_infomax": 1,
    "byol": 2,
    "dino": 4,
    "siamese": 2,
    "triplet": 2,
}
COUNT, SIZE, STEPS = 8, 64, 2
Result = dict[str, torch.Tensor]


def method_of(name: str) -> Method:
    options = dataclasses.replace(
        SMALL, moco=MoCoOptions(queue=12), cpc=CPCOptions(4, 1), dino=DINOOptions(prototypes=12, local_crops=2)
    )
    method = made(name, convolutional(size=SIZE), options)
    if name == "cpc":  # its own draws belong to the process
        method.patch_views = (whole_frame(method.patch_views[0].size),)
    set_modes(method, encoder_trains=True, frozen_batchnorm=True)
    return method


def views_of(number: int) -> tuple[Batch, ...]:
    """This process's part of views of whole batches."""
    images = torch.from_numpy(blobs(COUNT * number, 2, SIZE)).view(number, COUNT, 2, SIZE, SIZE) / 10
    share = slice(rank() * COUNT // world(), (rank() + 1) * COUNT // world())
    whole = [batch_of(view) for view in images]
    return tuple(Batch(view.images[share], view.valid[share], {}, view.rows[share]) for view in whole)


def trained(name: str) -> Result:
    """Losses, gradients of the last step, and the state after it."""
    torch.manual_seed(0)
    method = method_of(name)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.02)
    found: Result = {}
    for step in range(STEPS):
        result = method(views_of(METHODS_THAT_COMPARE[name]), torch.Generator())
        loss = result.losses["model"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(p for group in optimiser.param_groups for p in group["params"])
        found[f"loss {step}"] = mean(loss)
        optimiser.step()
        method.after_step(result, 0.0)
    gradients = {f"gradient {n}": p.grad for n, p in method.named_parameters() if p.grad is not None}
    state = {f"state {key}": value.clone() for key, value in method.state_dict().items()}
    return found | gradients | state


def work(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    # A file where the two meet, so that no port has to be free.
    store = distributed.FileStore(f"{folder}/meeting", 2)
    distributed.init_process_group("gloo", store=store, rank=number, world_size=2)
    for name in METHODS_THAT_COMPARE:
        torch.save(trained(name), f"{folder}/{name}-{number}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("name", METHODS_THAT_COMPARE)
def test_two_processes_give_the_loss_and_gradients_of_one(together, name):
    alone = trained(name)
    first, second = (torch.load(together / f"{name}-{number}.pt") for number in range(2))
    assert alone.keys() == first.keys() == second.keys()
    assert sum(key.startswith("gradient") for key in alone) > 10
    for key, expected in alone.items():
        scale = float(expected.double().abs().max())  # gradients may be small throughout
        torch.testing.assert_close(first[key], expected, rtol=1e-3, atol=1e-3 * scale + 1e-7, msg=f"{name}: {key}")
        torch.testing.assert_close(second[key], first[key], rtol=1e-5, atol=1e-5 * scale)
    assert first["loss 0"] != first["loss 1"]


def test_every_method_that_compares_across_a_batch_is_here():
    """Families whose loss or state knows more than one image; I-JEPA's is a mean over images."""
    families = ("pairs", "contrastive", "teacher and student")
    compare = {name for name, about in METHODS.items() if about.family in families} - {"ijepa"}
    assert compare == set(METHODS_THAT_COMPARE)
