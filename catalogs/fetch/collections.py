"""The public collections: where their files lie, what they hold, under which terms, and how their table is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import pandas as pd

from catalogs.fetch.collection_tables import galaxy10_table, galaxy_mnist_table, gz_decals_labels, gz_decals_table

LEGACY_CUTOUTS = "legacy_cutouts"
_RGB = ("red", "green", "blue")


@final
@dataclass(frozen=True)
class RemoteFile:
    """A file of a collection: `hash` as "algorithm:digits", None where we know of none that is published.

    `size` in bytes is for plans only and may be rounded; None unknown. `unpack`: a gzip file becomes the file without
    ".gz", of a zip the images go below images/.
    """

    name: str
    url: str
    hash: str | None = None
    size: int | None = None
    unpack: Literal["gzip", "zip"] | None = None


@final
@dataclass(frozen=True)
class Label:
    """A label of the recipe: its kind, and its columns where these are not one of the label's own name."""

    kind: str
    columns: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Collection:
    """`table` makes the labels table of what lies in a folder, all of it or so many rows evenly spread.

    `zenodo` is the number of the record that holds the files. `images` is what the table's files are relative to.
    `store` and `encoder` are the recipe's sizes in pixels.
    """

    name: str
    title: str
    holds: str
    files: tuple[RemoteFile, ...]
    table: Callable[[Path, int | None], pd.DataFrame]
    labels: Mapping[str, Label]
    homepage: str
    licence: str
    citation: tuple[str, ...]
    images: str = "."
    bands: tuple[str, ...] = _RGB
    store: int = 128
    encoder: int = 96
    zenodo: str | None = None


_GALAXY10 = "https://zenodo.org/records"
_MNIST = "https://dl.dropboxusercontent.com/s"
_GZD = "https://zenodo.org/records/4573248/files"
_WALMSLEY = "Walmsley M. et al. 2022, MNRAS 509, 3966 (Galaxy Zoo DECaLS), https://doi.org/10.1093/mnras/stab2093"
_LINTOTT = "Lintott C. et al. 2008, MNRAS 389, 1179, and 2011, MNRAS 410, 166 (Galaxy Zoo)"
_DEY = (
    "Dey A. et al. 2019, AJ 157, 168 (DESI Legacy Imaging Surveys), and the acknowledgment at "
    "https://www.legacysurvey.org/acknowledgment/"
)
_CREDIT = "free to use with credit to the sources below; the record's page states the terms"

GALAXY10_DECALS = (
    *("Disturbed", "Merging", "Round Smooth", "In-between Round Smooth", "Cigar Shaped Smooth", "Barred Spiral"),
    *("Unbarred Tight Spiral", "Unbarred Loose Spiral", "Edge-on without Bulge", "Edge-on with Bulge"),
)
GALAXY10_SDSS = (
    *("Disk, Face-on, No Spiral", "Smooth, Completely round", "Smooth, in-between round", "Smooth, Cigar shaped"),
    *("Disk, Edge-on, Rounded Bulge", "Disk, Edge-on, Boxy Bulge", "Disk, Edge-on, No Bulge"),
    *("Disk, Face-on, Tight Spiral", "Disk, Face-on, Medium Spiral", "Disk, Face-on, Loose Spiral"),
)

COLLECTIONS: Mapping[str, Collection] = {
    collection.name: collection
    for collection in (
        Collection(
            name="galaxy10_decals",
            title="Galaxy10 DECaLS",
            holds="17,736 colour images of 256 px in 10 classes, with ra, dec and redshift",
            files=(
                RemoteFile(
                    "Galaxy10_DECals.h5",
                    f"{_GALAXY10}/10845026/files/Galaxy10_DECals.h5",
                    "sha256:19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
                    2_735_267_419,
                ),
            ),
            table=galaxy10_table("galaxy10_decals", "Galaxy10_DECals.h5", GALAXY10_DECALS),
            labels={"label": Label("classes")},
            homepage="https://zenodo.org/records/10845026 and https://github.com/henrysky/Galaxy10",
            licence=_CREDIT,
            citation=("Leung H. and Bovy J., Galaxy10 DECaLS, Zenodo 10845026", _WALMSLEY, _LINTOTT, _DEY),
        ),
        Collection(
            name="galaxy10_sdss",
            title="Galaxy10 SDSS",
            holds="21,785 colour images of 69 px in 10 classes",
            files=(
                RemoteFile(
                    "Galaxy10.h5",
                    f"{_GALAXY10}/10844811/files/Galaxy10.h5",
                    "sha256:969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
                    210_234_548,
                ),
            ),
            table=galaxy10_table("galaxy10_sdss", "Galaxy10.h5", GALAXY10_SDSS),
            labels={"label": Label("classes")},
            homepage="https://zenodo.org/records/10844811 and https://astronn.readthedocs.io/en/latest/galaxy10sdss.html",
            licence=_CREDIT,
            citation=(
                "Leung H. and Bovy J., Galaxy10 SDSS, Zenodo 10844811",
                _LINTOTT,
                "the Sloan Digital Sky Survey, https://www.sdss.org/collaboration/citing-sdss/",
            ),
            store=64,
            encoder=64,
        ),
        Collection(
            name="galaxy_mnist",
            title="GalaxyMNIST",
            holds="10,000 colour images of 64 px in 4 classes, in a fixed training and test half (8,000 and 2,000)",
            files=(
                RemoteFile(
                    "train_dataset.hdf5.gz",
                    f"{_MNIST}/5a14de0o7slyif9/train_dataset.hdf5.gz",
                    "md5:e408ae294e9b975482dc1abffeb373a6",
                    unpack="gzip",
                ),
                RemoteFile(
                    "test_dataset.hdf5.gz",
                    f"{_MNIST}/5rza12nn24cwd2k/test_dataset.hdf5.gz",
                    "md5:7a940e4cea64a8b7cb60339098f74490",
                    unpack="gzip",
                ),
            ),
            table=galaxy_mnist_table,
            labels={"label": Label("classes")},
            homepage="https://github.com/mwalmsley/galaxy_mnist",
            licence="as Galaxy Zoo DECaLS, from which it is drawn: CC BY 4.0",
            citation=(_WALMSLEY, _DEY),
            store=64,
            encoder=64,
        ),
        Collection(
            name="gz_decals",
            title="Galaxy Zoo DECaLS",
            holds="some 314,000 colour images of 424 px, with the volunteers' votes of the campaign on DR5",
            files=(
                RemoteFile("gz_decals_volunteers_5.parquet", f"{_GZD}/gz_decals_volunteers_5.parquet", size=40_500_000),
                *(  # 104 GB together
                    RemoteFile(name, f"{_GZD}/{name}", size=26_000_000_000, unpack="zip")
                    for name in (f"gz_decals_dr5_png_part{part}.zip" for part in (1, 2, 3, 4))
                ),
            ),
            table=gz_decals_table,
            labels={name: Label("votes", columns) for name, columns in gz_decals_labels().items()},
            homepage="https://zenodo.org/records/4573248",
            licence="CC BY 4.0",
            citation=(_WALMSLEY, "Walmsley M. et al. 2020, Zenodo, https://doi.org/10.5281/zenodo.4573248", _DEY),
            images="images",
            zenodo="4573248",
        ),
    )
}
