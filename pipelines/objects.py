"""The stored objects with what the catalog says of each, in the order of the store."""

from dataclasses import replace
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from domainssl.store import Store
from pipelines.steps import Context
from pipelines.targets import Targets, targets


@final
class Objects:
    """The store and its rows of the catalog: row i of `frame` is row i of `store`."""

    def __init__(self, context: Context) -> None:
        self.store = Store(context.run.store)
        catalog = pd.read_parquet(context.run.catalog).set_index("object_id", drop=False)
        self.frame = catalog.loc[self.store.object_ids].reset_index(drop=True)
        halves = self.frame.groupby("group")["half"].nunique()
        if (torn := int((halves > 1).sum())) and not context.recipe.classify.transductive:
            raise ValueError(
                f"{torn} group(s) have objects in the training and in the test half, which flatters every figure; "
                "run prepare again with --force"
            )
        self._uses = {entry.name: entry.use for entry in context.recipe.catalog}
        self._recipe = context.recipe
        self._labelled = bool(context.recipe.labels)
        self._transductive = context.recipe.classify.transductive

    def used_for(self, what: str) -> Bool[np.ndarray, " n"]:
        """Which objects belong to a catalog whose `use` names this step."""
        names = [name for name, use in self._uses.items() if what in use]
        return self.frame["catalog"].isin(names).to_numpy(bool)

    @property
    def train(self) -> Bool[np.ndarray, " n"]:
        """The half that learning may see."""
        return (self.frame["half"] == "train").to_numpy(bool)

    @property
    def simulated(self) -> bool:
        """Whether the catalog says of any object that it is simulated (a column of that name)."""
        if "simulated" not in self.frame:
            return False
        return bool(self.frame["simulated"].astype(str).str.lower().isin(["true", "1"]).any())

    def pretraining_rows(self) -> Int64[np.ndarray, " n"]:
        """Rows that pretraining sees: of the training half, or of both where the recipe is transductive.

        Without label columns nothing is measured on the test half: only rows that the table calls "test" are kept out.
        """
        seen = self.train | self._transductive
        if not self._labelled:
            seen |= (self.frame["split"] != "test").to_numpy(bool)
        return np.flatnonzero(seen & self.used_for("pretrain"))

    def targets(self, label: str) -> Targets:
        """The targets of one label, unknown for objects of catalogs that are not to be classified."""
        usable = self.used_for("classify")
        found = targets(self.frame if usable.all() else self.frame[usable], label, self._recipe.labels[label])
        y = np.full((len(usable), found.y.shape[1]), np.nan)
        y[usable] = found.y
        return replace(found, y=y)

    def evaluated_rows(self) -> Int64[np.ndarray, " n"]:
        """Rows of the catalogs to classify that have a label, and some others of the training half, so that a graph of
        neighbours has more than them; none without labels."""
        if not self._recipe.labels:
            return np.empty(0, np.int64)
        known = np.any([~np.isnan(self.targets(label).y).all(axis=1) for label in self._recipe.labels], axis=0)
        others = np.random.default_rng([self._recipe.seed, 80]).permutation(np.flatnonzero(self.train & ~known))
        return np.union1d(np.flatnonzero(known), others[: self._recipe.classify.unlabelled])
