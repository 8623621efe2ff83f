"""Policies with parts switched off, so that a sweep shows which view matters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.brightness import Brightness
from domainssl.views.erase import Erase
from domainssl.views.noise_to import NoiseTo, PictureNoise
from domainssl.views.operation import Operation, Policy
from domainssl.views.reddening import Reddening

Without = Callable[[Operation], Operation | None]


def _absent(*kinds: type) -> Without:
    """Takes the whole operation away."""
    return lambda operation: None if isinstance(operation, kinds) else operation


def _still(**fields: Any) -> Without:
    """Leaves AffineCrop, with these of its ranges shrunk to one value that changes nothing."""
    return lambda operation: (
        dataclasses.replace(operation, **fields) if isinstance(operation, AffineCrop) else operation
    )


# What can be switched off, by the name a recipe gives it: an operation to the same without this part, None for nothing.
PARTS: dict[str, Without] = {
    "rotation": _still(rotation=0.0),
    "flip": _still(flip=0.0),
    "crop": _still(field=(1.0, 1.0)),
    "shift": _still(shift=0.0),
    "brightness": _absent(Brightness),
    "blur": _absent(BlurTo),
    "noise": _absent(NoiseTo, PictureNoise),
    "erase": _absent(Erase),
    "reddening": _absent(Reddening),
}


def parts(policy: Policy) -> tuple[str, ...]:
    """The parts that this policy has, in the order of PARTS: taking one away changes it."""
    return tuple(name for name in PARTS if _without(policy, name) != policy)


def without(policy: Policy, names: Sequence[str]) -> Policy:
    """The policy without these parts; their order and repetition mean nothing, no names give the policy itself.

    The frame stays whatever is taken away: without all its parts a policy shows the whole stored frame at the encoder's
    size. Raises ValueError for a name that the policy does not have (also a mirror image where flips are off already).
    """
    there = parts(policy)
    for name in names:
        if name not in there:
            known = f"it has {', '.join(there)}" if there else "it has nothing to switch off"
            raise ValueError(f"without: {name!r} is no part of this policy of views; {known}")
    for name in names:
        policy = _without(policy, name)
    return policy


def _without(policy: Policy, name: str) -> Policy:
    changed = (PARTS[name](operation) for operation in policy)
    return tuple(operation for operation in changed if operation is not None)
