"""Files to square float images by domainssl, MONAI and torchxrayvision, each the way its own documentation does it.

Reading processes import this; each function imports what it needs, once a process.
"""

import logging
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float32

SIZE = 256
Images = list[Float32[np.ndarray, "1 size size"]]


def read(reader: str, paths: list[str]) -> Images:
    """Files by one of `READERS`, each as float32, 256 pixels a side, on one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return READERS[reader](paths)


def _domainssl(paths: list[str]) -> Images:
    import pandas as pd

    from catalogs.chest_xrays.reader import read_chest_xrays
    from catalogs.letterbox import letterbox
    from catalogs.reading import Cutout, Request

    rows = pd.DataFrame({"object_id": paths, "paths": [(path,) for path in paths]})
    images = []
    for cutout in read_chest_xrays(rows, Request(("grey",))):
        assert isinstance(cutout, Cutout), cutout
        images.append(letterbox(cutout, SIZE, None).pixels)
    return images


def _monai(paths: list[str]) -> Images:
    transform = _monai_transform()
    return [np.asarray(transform(path)) for path in paths]


@cache
def _monai_transform() -> Callable[[str], object]:
    import torch
    from monai.transforms import Compose, LoadImage, Resize

    torch.set_num_threads(1)
    load = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)
    transform: Callable[[str], object] = Compose([load, Resize((SIZE, SIZE), mode="area")])
    return transform


def _torchxrayvision(paths: list[str]) -> Images:
    xrv = _xrv()
    crop, resize = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(SIZE)
    return [resize(crop(xrv.utils.read_xray_dcm(path)[None])) for path in paths]


def _torchxrayvision_by_torch(paths: list[str]) -> Images:
    """Its reader, with the mean over areas instead of its smoothing by scikit-image, which takes most of its time."""
    import torch

    images = []
    for path in paths:
        image = torch.from_numpy(_xrv().utils.read_xray_dcm(path))[None, None]
        images.append(torch.nn.functional.interpolate(image, (SIZE, SIZE), mode="area")[0].numpy())
    return images


@cache
def _xrv():  # type: ignore[no-untyped-def]
    import torch
    import torchxrayvision

    torch.set_num_threads(1)
    logging.disable()
    return torchxrayvision


READERS: dict[str, Callable[[list[str]], Images]] = {
    "domainssl": _domainssl,
    "monai": _monai,
    "torchxrayvision": _torchxrayvision,
    "torchxrayvision, shrunk by torch": _torchxrayvision_by_torch,
}
