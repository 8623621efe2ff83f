"""Radiographs as DICOM and as pictures are the same images to an encoder: real ones, in mixed forms of DICOM."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from jaxtyping import Float32, UInt8
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from domainssl.store import Store
from pipelines.cli import main

IMAGES = 60
RECIPE = """\
domain = "chest_xrays"
[[catalog]]
name = "nih"
table = "{images}/table.csv"
images = "{images}"
bands = ["grey"]
[store]
marks = "{marks}"
[encoder]
precision = "float32"
[pretrain]
epochs = 0
"""
# Transfer syntax and pydicom's encoder of it; "" where it has none or needs none.
SYNTAXES = (
    ("1.2.840.10008.1.2.1", ""),
    ("1.2.840.10008.1.2", ""),
    ("1.2.840.10008.1.2.2", ""),
    ("1.2.840.10008.1.2.1.99", ""),
    (RLELossless, "pylibjpeg"),
    (JPEGLSLossless, "pyjpegls"),
    (JPEG2000Lossless, "pylibjpeg"),
    (JPEGLosslessSV1, ""),
)


def as_dicom(grey: UInt8[np.ndarray, "y x"], number: int, path: Path) -> dict[str, Any]:
    """One picture as DICOM whose window shows it as it is; what form that has, which differs from number to number.

    Stored values are factor x grey + offset, so that the window from 0 to 255 of the picture is one of whole numbers.
    """
    rng = np.random.default_rng(number)
    bits = 8 + number % 9
    syntax, plugin = SYNTAXES[number % len(SYNTAXES)]
    inverted = bool(rng.integers(2))
    factor = (2**bits - 1) // 255
    offset = int(rng.integers(2**bits - 255 * factor))
    values = factor * (255 - grey.astype(int) if inverted else grey.astype(int)) + offset
    stored = values.astype(np.uint8 if bits == 8 else np.uint16)
    dataset = radiograph(stored, bits, SYNTAXES[0][0] if plugin else syntax)
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    # PS3.3 C.11.2.1.2: LINEAR runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
    dataset.WindowCenter, dataset.WindowWidth = f"{offset + 255 * factor / 2 + 0.5:g}", 255 * factor + 1
    dataset.PatientID = f"patient {number}"
    if plugin:
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    elif syntax == JPEGLosslessSV1:
        stream = imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=bits)
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
    write(dataset, path)
    return {"syntax": str(syntax), "bits": bits, "inverted": inverted}


@pytest.fixture(scope="module")
def collections(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of NIH ChestX-ray14 in a folder, and their DICOM version in another, each with a table."""
    root = tmp_path_factory.mktemp("collections")
    forms = []
    for kind in ("pictures", "dicom"):
        (root / kind).mkdir()
    files = sorted((shared_data / "chest" / "nih" / "images").glob("*.jpg"))[:: 688 // IMAGES][:IMAGES]
    for number, file in enumerate(files):
        (root / "pictures" / f"{number}.jpg").write_bytes(file.read_bytes())
        forms.append(as_dicom(np.asarray(Image.open(file)), number, root / "dicom" / f"{number}.dcm"))
    numbers = range(len(files))
    pictures = pd.DataFrame({"image_id": numbers, "file": [f"{n}.jpg" for n in numbers], "patient_id": numbers})
    pictures.to_csv(root / "pictures" / "table.csv", index=False)
    # Patients are those of the headers.
    dicom = pd.DataFrame({"image_id": numbers, "file": [f"{n}.dcm" for n in numbers]})
    dicom.to_csv(root / "dicom" / "table.csv", index=False)
    made = pd.DataFrame(forms)
    assert len(made) == IMAGES
    assert made["syntax"].nunique() == len(SYNTAXES)
    assert set(made["bits"]) == set(range(8, 17))
    assert set(made["inverted"]) == {True, False}
    return root


def embedded(
    images: Path, out: Path, marks: str
) -> tuple[Float32[np.ndarray, "image feature"], Float32[np.ndarray, "image y x"]]:
    """What the default encoder makes of a collection, and what the store shows it; in the order of the table."""
    out.mkdir()
    (out / "recipe.toml").write_text(RECIPE.format(images=images, marks=marks))
    options = ["--out", str(out / "run"), "--workers", "1", "--device", "cpu", "--quiet"]
    for step in ("prepare", "embed"):
        assert main([step, str(out / "recipe.toml"), *options]) == 0
    catalog = pd.read_parquet(out / "run" / "catalog.parquet")
    assert catalog["group"].nunique() == IMAGES
    parts = pd.concat([pd.read_parquet(path) for path in sorted((out / "run" / "embeddings").glob("part-*.parquet"))])
    assert len(parts) == IMAGES
    store = Store(out / "run" / "store")
    places = [store.object_ids.index(name) for name in catalog["object_id"]]
    found = np.stack(parts.set_index("object_id").loc[catalog["object_id"], "embedding"].tolist()).astype(np.float32)
    return found, store.batch(np.array(places)).images[:, 0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("marks", ["keep", "hide"])
def test_embeddings_of_dicom_are_those_of_the_pictures(collections: Path, tmp_path: Path, marks: str) -> None:
    pictures, shown = embedded(collections / "pictures", tmp_path / "pictures", marks)
    dicom, shown_too = embedded(collections / "dicom", tmp_path / "dicom", marks)
    np.testing.assert_allclose(shown_too, shown, atol=1e-3)  # float16 of the store
    lengths = [np.linalg.norm(found, axis=1, keepdims=True) for found in (pictures, dicom)]
    cosines = (pictures / lengths[0]) @ (dicom / lengths[1]).T
    assert cosines.diagonal().min() > 0.999
    # Not so of other images: the bound tells them apart.
    assert cosines[~np.eye(IMAGES, dtype=bool)].max() < 0.999
    assert np.median(cosines) < 0.9
