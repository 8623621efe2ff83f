"""Whether the objects that a run is applied to are others than those it learnt from: class shares, and what is far."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from scipy.stats import binomtest, fisher_exact

from domainssl.embedding import read_parts
from domainssl.evaluation.certainty import Certainty, by_question
from domainssl.evaluation.multiplicity import holm
from domainssl.evaluation.novelty import FALSE_ALARMS as PROMISED
from domainssl.evaluation.prevalence import MINIMUM, compared_shares
from domainssl.evaluation.reliability import one_a_group
from domainssl.heads.head import FittedHead
from pipelines.objects import Objects
from pipelines.steps import Context

MOST_ROWS = 20_000  # of the labelled test half and of the new objects, at random where there are more


def shifted(
    context: Context,
    trained: Context,
    embedded: Float[np.ndarray, "n d"],
    heads: Mapping[str, tuple[FittedHead, Certainty]],
) -> list[dict[str, Any]]:
    """One entry a label, ready for JSON, of the new objects of `context`, whose `embedded` features are given.

    "answers": a label's question, or one a finding, with its class shares among the labels that the `trained` run's
    head learnt from ("trained") and among the new objects ("now", "low", "high"), and how often chance alone has the
    scores of labelled test objects and of the new ones as far apart ("p", adjusted by Holm over all that was asked:
    "p_holm"). "called" says whether the trained run may call its scores probabilities; elsewhere, and of fewer than
    MINIMUM groups, there are no shares. "far": the share of new groups that are far from every labelled object, beside
    that of labelled test groups, and "p" of Fisher's exact test that it is no larger.
    """
    old = Objects(trained)
    groups = Objects(context).frame["group"].to_numpy(str)
    ids, features, _ = read_parts(trained.run.embeddings)
    assert list(ids) == old.frame["object_id"].tolist()
    called = {entry["label"]: entry for entry in json.loads(trained.run.certainty.read_text())}
    rng = np.random.default_rng([trained.recipe.seed, 95])
    new = np.sort(rng.permutation(len(embedded))[:MOST_ROWS])
    entries: list[dict[str, Any]] = []
    for label, (head, certainty) in heads.items():
        targets = old.targets(label)
        known = ~np.isnan(targets.y).all(axis=1)
        test = np.sort(rng.permutation(np.flatnonzero(known & ~old.train))[:MOST_ROWS])
        old_groups = old.frame["group"].to_numpy(str)[test]
        facts: dict[str, Any] = {"label": label, "kind": targets.kind, "objects": len(embedded), "answers": []}
        facts["groups"] = len(np.unique(groups))
        said = {question["of"]: question["after"]["called"] for question in called.get(label, {}).get("questions", [])}
        scores = [
            by_question(targets.kind, certainty.calibrated(head.predict(x))) for x in (embedded[new], features[test])
        ]
        for place in range(len(certainty.questions)):
            single = targets.kind != "multilabel"
            of = None if single else targets.outputs[place]
            names = targets.outputs if single else (f"no {of}", str(of))
            truth = targets.y[known & old.train, place]
            truth = truth[~np.isnan(truth)].astype(np.int64)
            answer: dict[str, Any] = {"of": of, "names": list(names), "called": said.get(of, "score"), "p": None}
            answer["trained"] = _shares(truth, len(names)).tolist() if len(truth) else None
            if answer["called"] == "probability" and answer["trained"] is not None:
                told = ~np.isnan(targets.y[test, place])
                found = compared_shares(
                    scores[0][place],
                    groups[new],
                    scores[1][place][told],
                    old_groups[told],
                    targets.y[test, place][told].astype(np.int64),
                    np.array(answer["trained"]),
                    rng,
                )
                if found is not None:
                    answer |= {
                        "now": found.now.tolist(),
                        "low": found.low.tolist(),
                        "high": found.high.tolist(),
                        "test": found.before.tolist(),
                        "p": found.p,
                        "clearest": found.clearest,
                        "groups": found.groups,
                    }
            facts["answers"].append(answer)
        facts["needed"] = MINIMUM
        facts["far"] = _far(certainty, embedded[new], groups[new], features[test], old_groups, rng)
        entries.append(facts)
    answers = [answer for entry in entries for answer in entry["answers"]]
    adjusted = holm([np.nan if answer["p"] is None else answer["p"] for answer in answers])
    for answer, p in zip(answers, adjusted, strict=True):
        answer["p_holm"] = None if np.isnan(p) else float(p)
    far = [entry["far"] for entry in entries if entry["far"] is not None]
    for one, p in zip(far, holm([one["p"] for one in far]), strict=True):
        one["p_holm"] = float(p)
    return entries


def _shares(truth: Shaped[np.ndarray, " m"], classes: int) -> Float64[np.ndarray, " k"]:
    return np.asarray(np.bincount(truth, minlength=classes) / len(truth))


def _far(
    certainty: Certainty,
    new: Float[np.ndarray, "n d"],
    groups: Shaped[np.ndarray, " n"],
    test: Float[np.ndarray, "m d"],
    test_groups: Shaped[np.ndarray, " m"],
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """Shares of one random object a group, with exact intervals; None where far cannot be told, or of no test group."""
    if certainty.familiar is None or not len(test):
        return None
    now, before = (certainty.familiar.far(x[one_a_group(own, rng)]) for x, own in ((new, groups), (test, test_groups)))
    table = [[int(now.sum()), int((~now).sum())], [int(before.sum()), int((~before).sum())]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    return {"promised": PROMISED, **_share(now), "test": _share(before), "p": p}


def _share(hit: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci()
    return {"value": float(hit.mean()), "low": float(interval.low), "high": float(interval.high), "groups": len(hit)}
