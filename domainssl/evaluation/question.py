"""What is asked: one label, its targets, who may be learnt from, what is scored and how much of it can be estimated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from domainssl.evaluation.intervals import MINIMUM_GROUPS, groups_with
from domainssl.evaluation.metric import Metric, Prediction
from domainssl.evaluation.units import Aggregate, Units, make_units
from domainssl.options import Kind


@final
@dataclass(frozen=True)
class Question:
    """One label of a collection whose rows lie in a training half, a test half, or neither.

    `y` are targets as `domainssl.heads.head` defines them and `outputs` their names; `groups` (patient, tile) are never
    torn apart between halves; `units` are ids of what is scored (each image its own, or studies, patients), `aggregate`
    joins their images. `prevalence` (of yes, or by finding) and `outlier` are the recipe's; `specificity` is where
    sensitivity is measured.

    Raises ValueError where a group lies in both halves, where fewer than two classes have labels in the training half
    or in both halves, and where nothing in the test half has a label.
    """

    label: str
    kind: Kind
    y: Float64[np.ndarray, "n t"]
    outputs: tuple[str, ...]
    train: Bool[np.ndarray, " n"]
    test: Bool[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    units: Shaped[np.ndarray, " n"]
    aggregate: Aggregate = "mean"
    specificity: float = 0.9
    prevalence: float | Mapping[str, float] | None = None
    outlier: float | None = None

    def __post_init__(self) -> None:
        leaked = np.intersect1d(self.groups[self.train], self.groups[self.test])
        if len(leaked):
            raise ValueError(
                f"{self.label}: {len(leaked)} group(s) lie in both halves, for example {leaked[0]!r}: the score would "
                "be that of remembering; give each patient or tile one of train and test"
            )
        if self.by_class:
            classes = [set(self.y[half & self.known, 0]) for half in (self.train, self.test)]
            if len(classes[0]) < 2:
                raise ValueError(
                    f"{self.label}: {len(classes[0])} class(es) with labels in the training half; a head needs two or "
                    "more, label more"
                )
            if len(classes[0] & classes[1]) < 2:
                raise ValueError(
                    f"{self.label}: fewer than two classes have labels in both halves; label more test objects"
                )
        for name, rows in (("training", self.train & self.known), ("test", self.scored)):
            if not rows.any():
                raise ValueError(f"{self.label}: no row of the {name} half has a label; label some")

    def part(self, rows: Int64[np.ndarray, " m"]) -> "Question | None":
        """The question asked of some rows alone; None where these leave nothing to learn or to ask."""
        try:
            return replace(
                self,
                y=self.y[rows],
                train=self.train[rows],
                test=self.test[rows],
                groups=self.groups[rows],
                units=self.units[rows],
            )
        except ValueError:
            return None

    @property
    def by_class(self) -> bool:
        """Whether a row has exactly one of several classes or levels."""
        return self.kind in ("classes", "yes_no", "ordered")

    @cached_property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Rows that have a label, or one answer of several."""
        unknown: Bool[np.ndarray, " n"] = np.isnan(self.y).all(axis=1)
        return ~unknown

    @cached_property
    def scored(self) -> Bool[np.ndarray, " n"]:
        """Labelled test rows; those of a class without any labelled training row are left out, and named in `note`."""
        rows: Bool[np.ndarray, " n"] = self.test & self.known
        if self.by_class:
            rows &= np.isin(self.y[:, 0], self.y[self.train & self.known, 0])
        return rows

    @cached_property
    def tested(self) -> Units:
        """The scored rows joined to units."""
        rows = self.scored
        return make_units(self.kind, self.y[rows], self.units[rows], self.groups[rows])

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """What "classes" metrics have a row for: the classes, the findings, or yes alone."""
        return self.outputs[1:] if self.kind == "yes_no" else self.outputs

    @cached_property
    def estimable(self) -> Bool[np.ndarray, " a"]:
        """Which answers have enough positive and enough negative groups in the test half."""
        return np.array([min(counts) >= MINIMUM_GROUPS for counts in self._counts], dtype=bool)

    @cached_property
    def _counts(self) -> list[tuple[int, int]]:
        truth, groups = self.tested.truth, self.tested.groups
        if self.kind == "multilabel":
            columns = [truth[:, a] for a in range(truth.shape[1])]
        elif self.kind == "yes_no":
            columns = [truth[:, 0]]
        else:
            columns = [np.where(np.isnan(truth[:, 0]), np.nan, truth[:, 0] == c) for c in range(len(self.answers))]
        return [(groups_with(groups, column == 1), groups_with(groups, column == 0)) for column in columns]

    @cached_property
    def n_groups(self) -> int:
        """Groups in the scored rows."""
        return len(np.unique(self.tested.groups))

    def rarer_groups(self, metric: Metric, answer: int | None = None) -> int:
        """Groups of an answer's rarer side, on which an interval's width depends: of the rarest estimable answer for a
        mean over answers, all groups where there are no answers."""
        if metric.of == "all" and self.kind != "yes_no":
            return self.n_groups
        chosen = np.flatnonzero(self.estimable) if answer is None else [answer]
        return min((min(self._counts[a]) for a in chosen), default=self.n_groups)

    def not_estimable(self, metric: Metric, answer: int | None = None) -> str | None:
        """Why a metric (or an answer's row of it) cannot be estimated from so few groups; None where it can."""
        if metric.of == "all":
            few = self.n_groups if self.kind != "yes_no" else min(self.n_groups, *self._counts[0])
            return None if few >= MINIMUM_GROUPS else _too_few(few, "")
        chosen = range(len(self.answers)) if answer is None else [answer]
        if any(self.estimable[a] for a in chosen):
            return None
        positive, negative = max((self._counts[a] for a in chosen), key=min)
        return _too_few(min(positive, negative), " with the answer" if positive <= negative else " without the answer")

    @cached_property
    def note(self) -> str:
        """What was left out of the scores, in words; empty where nothing was."""
        said = []
        if self.by_class:
            trained = np.unique(self.y[self.train & self.known, 0])
            tested = np.unique(self.y[self.test & self.known, 0])
            for missing, half in ((np.setdiff1d(trained, tested), "test"), (np.setdiff1d(tested, trained), "training")):
                said += [f"{self.outputs[int(c)]} (no labelled {half} rows)" for c in missing]
        if self.kind in ("classes", "multilabel"):
            tested_answers = [(name, pair) for name, pair in zip(self.answers, self._counts, strict=True) if pair[0]]
            said += [f"{name} ({_too_few(min(p), '')})" for name, p in tested_answers if min(p) < MINIMUM_GROUPS]
        words = f"not scored: {', '.join(said)}" if said else ""
        if self.tested.dropped:
            before = f"{words}; " if words else ""
            words = f"{before}{self.tested.dropped} unit(s) left out whose images carry different labels"
        return words

    def prediction(
        self, predictions: Float64[np.ndarray, "u k"], thresholds: Float64[np.ndarray, " a"] | None
    ) -> Prediction:
        """What metrics are given of one head's predictions of the units."""
        prevalence, given = None, self.prevalence
        if given is not None:
            shares = given if isinstance(given, Mapping) else dict.fromkeys(self.answers, given)
            prevalence = np.array([shares.get(name, np.nan) for name in self.answers])
        return Prediction(predictions, thresholds, prevalence, self.outlier if self.kind == "real" else None)

    def halves(self) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " s"]]:
        """Indices of the training half's rows, and of the scored rows."""
        return np.flatnonzero(self.train), np.flatnonzero(self.scored)


def _too_few(count: int, which: str) -> str:
    groups = f"{count} group{'' if count == 1 else 's'}{which}"
    return f"not estimable: {groups} in the test half, {MINIMUM_GROUPS} are needed"
