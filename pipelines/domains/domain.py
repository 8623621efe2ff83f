"""What a domain is: how its files are read, which views leave its objects what they are, how they look to the eye."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from catalogs.reading import Radiometry, Reader
from catalogs.scanning import READABLE_SUFFIXES

if TYPE_CHECKING:  # reading processes import domains, and must not import torch
    from domainssl.features import Symmetry
    from domainssl.views.operation import Policy


@runtime_checkable
class Rendering(Protocol):
    """Source values of shape (n, band, y, x), NaN where invalid, to pictures; `scale` is the sky sigma a band of
    linear images."""

    def __call__(
        self, pixels: Float[np.ndarray, "n c h w"], bands: tuple[str, ...], scale: Float[np.ndarray, " c"] | None
    ) -> UInt8[np.ndarray, "n h w 3"]: ...


@runtime_checkable
class Views(Protocol):
    """The policy for images of this radiometry and these bands at the encoder's `size`; `sided`: a label tells left
    from right, so no mirror images; `survey`: whose bands these are, None unknown or several."""

    def __call__(
        self, radiometry: Radiometry, bands: tuple[str, ...], size: int, *, sided: bool, survey: str | None = None
    ) -> "Policy": ...


# What a private column may hold: these words in any case, numbers, or anything, whose pseudonym is then shown.
Kept = tuple[str, ...] | Literal["number", "pseudonym"]


@dataclass(frozen=True)
class Domain:
    """One domain. `read` is a function at module level, since it travels to reading processes. `version` enters the
    preparation's hash: raise it when `read` gives other pixels for the same file.

    `title` heads the page, `notices` are sentences that stand on every one, `image_notices` on those with images.
    `upright`: its images have an up and a left; `symmetry` leaves its objects what they are (mirror images only where
    no label tells left from right). `suffixes` are those that a scan of a folder takes.
    `private`: files, names and ids can tell who somebody is. Then ids become pseudonyms before anything is written, of
    the catalog's columns only the labels and those of `kept` stay, as far as their values are what it allows, and no
    message quotes a file or a path.
    `survey` gives what a file's header says by column: group and issuer (raw), view and others, for what the table does
    not say; `view_word` reads what a table calls a view, `taken_views` are taken where the recipe names none.
    `find_marks` finds what is burned into an image, which is then hidden in all. With `sky`, objects that lie together
    on the sky are a group.
    """

    name: str
    title: str
    notices: tuple[str, ...]
    version: int
    read: Reader
    views: Views
    render: Rendering
    upright: bool
    image_notices: tuple[str, ...] = ()
    symmetry: "Symmetry" = "none"
    suffixes: tuple[str, ...] = READABLE_SUFFIXES
    private: bool = False
    kept: Mapping[str, Kept] = field(default_factory=dict)
    survey: Callable[[Path], Mapping[str, Any] | None] | None = None
    taken_views: tuple[str, ...] = ()
    view_word: Callable[[str], str] | None = None
    find_marks: Callable[[Float[np.ndarray, "y x"]], Bool[np.ndarray, "y x"]] | None = None
    marks_version: int = 0
    sky: bool = False
