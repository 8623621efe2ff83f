"""Policies for methods that want other views than two alike: a domain's policy with parts changed or left out."""

import dataclasses

from domainssl.views.affine_crop import AffineCrop
from domainssl.views.operation import Policy


def framed(policy: Policy) -> Policy:
    """The frame alone (rotation, flip, crop), for methods whose target is the pixels: no noise, blur or erasing."""
    return tuple(operation for operation in policy if isinstance(operation, AffineCrop))


def upright(policy: Policy) -> Policy:
    """The same without rotation and mirror images, for methods that ask for the orientation or place of a part."""
    return tuple(
        dataclasses.replace(operation, rotation=0.0, flip=0.0) if isinstance(operation, AffineCrop) else operation
        for operation in policy
    )


def local(policy: Policy, size: int, field: tuple[float, float]) -> Policy:
    """Small crops of `size` pixels that show shares `field` of the stored side, from anywhere in the frame."""
    return tuple(
        dataclasses.replace(operation, size=size, field=field, shift=(1 - field[0]) / 2)
        if isinstance(operation, AffineCrop)
        else operation
        for operation in policy
    )
