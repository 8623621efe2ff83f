"""What the sections of a model card are made from: a finished run's files, and how its objects are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import pandas as pd

from domainssl.evaluation.retrieval import Retrieval
from domainssl.weights_sources import EncoderFacts
from pipelines.domains import DOMAINS
from pipelines.domains.domain import Domain
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from reports.metric_rows import Column, columns_of
from reports.suppression import FEWEST, SMALL


@final
@dataclass(frozen=True)
class CardFacts:
    """A run as the card sees it. `encoder` is None where nothing was trained; `code` and `recipe_hash` are sha256.

    `shared`: the card is to be handed out, so that it names no catalog, file or class of few, counts nobody exactly
    and repeats no words of the user; `metrics` are then those of `reports.shared_rows`.
    """

    recipe: Recipe
    objects: Objects
    manifest: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    trust: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    subgroups: Sequence[Mapping[str, Any]]
    anomalies: pd.DataFrame
    training: Sequence[Mapping[str, Any]]
    refused: Mapping[str, int]
    cohort: Sequence[str]
    labels_said: Sequence[str]
    retrieval: Retrieval | None
    encoder: EncoderFacts | None
    encoder_hash: str | None
    recipe_hash: str
    shared: bool = False

    @property
    def domain(self) -> Domain:
        return DOMAINS[self.recipe.domain]

    @property
    def strict(self) -> bool:
        """Whether small counts are hidden: a card travels with its encoder, also by accident."""
        return self.shared or self.domain.private

    @property
    def image(self) -> str:
        """What the catalog's rows are called, in the plural."""
        return "images" if self.domain.private else "objects"

    @property
    def group(self) -> str:
        """What their groups are called."""
        return "patients" if self.domain.private else "groups"

    @property
    def columns(self) -> list[Column]:
        """The measured labels."""
        return columns_of(self.metrics)

    def record(self, step: str) -> dict[str, Any]:
        """What the manifest says of a step."""
        found: dict[str, Any] = self.manifest["steps"].get(step, {})
        return found

    def counted(self, rows: "pd.Series[bool] | None" = None) -> str:
        """How many objects these rows are of how many groups, as far as it may be said."""
        frame = self.objects.frame if rows is None else self.objects.frame[rows.to_numpy(bool)]
        people = frame["group"].nunique()
        if self.shared:
            few = min(len(frame), people) < FEWEST
            return f"{SMALL if few else f'{len(frame):,}'} {self.image}"
        return f"{self.number(len(frame), people)} {self.image} of {self.number(people)} {self.group}"

    def number(self, count: int, people: int | None = None) -> str:
        """A count of objects, hidden where it is small and the domain is private."""
        few = min(count, count if people is None else people) < FEWEST
        return SMALL if self.strict and few and count else f"{count:,}"


def several(count: int, one: str, more: str) -> str:
    """1 label, 2 labels."""
    return f"{count:,} {one if count == 1 else more}"
