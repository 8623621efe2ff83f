"""Saliency maps of some objects of the test half, for the page, with the check on randomised weights."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from domainssl.embedding import BATCH
from domainssl.encoders import TimmEncoder, load_encoder, weights_hash
from domainssl.evaluation.audit import OF_EACH
from domainssl.evaluation.task import TASKS
from domainssl.heads.files import load_head
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.linear import LinearHead
from domainssl.heads.multilabel import MultilabelHead
from domainssl.saliency.check import agreement, rank_correlation, verdict
from domainssl.saliency.choice import Chosen, chosen
from domainssl.saliency.maps import STEPS, Pictured, mask_side, saliency
from domainssl.saliency.randomised import permuted_head, random_encoder, random_head
from domainssl.saliency.views import MapView, map_views
from domainssl.views.affine_crop import whole_frame
from pipelines.classify import safe_name
from pipelines.embed import symmetry
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from pipelines.recipe_saliency import EXPLAINED, MOST_LABELS, check_saliency
from pipelines.starts import start_encoder
from pipelines.steps import Context
from pipelines.targets import Targets
from reports.saliency import SaliencyLabel

SIDE = 224  # pixels a side of a picture
ENCODERS, HEADS = 4, 20  # randomisations of each kind: heads cost next to nothing
SAMPLED = 64  # images of the training half that a random encoder's statistics come from
MOST_ROWS = 1_000  # labelled objects that a head of permuted labels learns from
STREAM = 88

Pictures = Callable[[Int64[np.ndarray, " n"], int], UInt8[np.ndarray, "n s s 3"]]
Linear = LinearHead | MultilabelHead


@final
@dataclass(frozen=True)
class Contrast:
    """What maps are compared with: a random encoder and head each, and heads of permuted labels on the own encoder."""

    random: list[tuple[TimmEncoder, FittedHead]]
    permuted: list[FittedHead]


def saliency_labels(
    context: Context, objects: Objects, embedded: Float32[np.ndarray, "n d"], model: str, pictures: Pictures
) -> list[SaliencyLabel]:
    """The maps of each label of classes, yes or no, or several findings; none where the recipe wants none.

    `embedded` are the features of the store's rows by the encoder whose hash is `model`; `pictures` gives pictures of
    rows with so many pixels a side. Raises ValueError where the method cannot work with the encoder, RecipeError where
    the recipe tells.
    """
    recipe, method = context.recipe, context.recipe.report.saliency
    if method == "off":
        return []
    check_saliency(recipe)
    labels = _explained(recipe)[:MOST_LABELS]
    encoder = _encoder(context, objects, model)
    sample = _sample(context, objects)
    rng = np.random.default_rng([recipe.seed, STREAM, 0])
    others = [random_encoder(encoder, sample, rng) for _ in range(ENCODERS)]
    predictions = pd.read_parquet(context.run.predictions)
    count, found = recipe.report.saliency_objects, []
    with context.progress.counter(f"report: saliency by {method}", count * len(labels)) as counter:
        for number, label in enumerate(labels):
            rng = np.random.default_rng([recipe.seed, STREAM, 1 + number])
            head, _, _, name = load_head(context.run.heads / f"{safe_name(label)}.safetensors", model)
            assert isinstance(head, Linear)  # the recipe was refused else
            targets = objects.targets(label)
            scores = predictions[[f"{label}:{output}" for output in targets.outputs]].to_numpy(np.float64)
            asked = np.flatnonzero(~objects.train & ~np.isnan(targets.y).all(axis=1))
            groups = objects.frame["group"].to_numpy(str)
            shown = chosen(targets.kind, scores, targets.y, asked, groups, count, rng)
            contrast = Contrast(
                [(other, random_head(head, other, sample, rng)) for other in others],
                [] if method == "attention" else _permuted(objects, targets, name, embedded, rng),
            )
            maps, by_encoder, by_labels = [], [], []
            for one in shown:
                own, drawn, permuted = _maps(context, objects, one, encoder, head, contrast)
                maps.append(own)
                by_encoder.append([rank_correlation(own, other) for other in drawn])
                by_labels.append([rank_correlation(own, other) for other in permuted])
                counter.advance(1)
            counter.advance(count - len(shown))
            found.append(
                SaliencyLabel(
                    label,
                    how(recipe),
                    **_facts(by_encoder, by_labels, rng),
                    items=[_item(objects, targets, scores, one, own) for one, own in zip(shown, maps, strict=True)],
                    pictures=pictures(np.array([one.row for one in shown], np.int64), SIDE),
                    maps=_enlarged(objects, shown, maps),
                )
            )
    return found


def map_facts(shown: SaliencyLabel) -> dict[str, Any]:
    """What the manifest keeps of a label's maps: the check's verdict and numbers, None for what is not estimable."""
    agreements = {
        name: facts and {key: number if np.isfinite(number) else None for key, number in facts.items()}
        for name, facts in (("encoders", shown.encoders), ("heads", shown.heads))
    }
    return {"label": shown.label, "objects": len(shown.items), "verdict": shown.verdict, **agreements}


def unmade(recipe: Recipe) -> list[str]:
    """A finding where maps were asked for that are not there, of many labels."""
    if recipe.report.saliency == "off":
        return []
    more = len(_explained(recipe)) - MOST_LABELS
    return [f"Saliency maps are of the first {MOST_LABELS} labels alone; {more} have none."] if more > 0 else []


def how(recipe: Recipe) -> str:
    """The method in words, with its sizes."""
    size, over = recipe.encoder.size, "turns and mirror images" if symmetry(recipe) == "dihedral" else "small shifts"
    mask = mask_side(size)
    return {
        "off": "",
        "grad_cam": (
            "Grad-CAM (Selvaraju et al. 2017): where the last feature map holds what raises the answer's log-odds"
        ),
        "occlusion": (
            f"Occlusion (Zeiler and Fergus 2014): how far the answer's log-odds fall where a square of {mask} px, "
            f"moved by {max(1, mask // STEPS)} px, shows the background in place of the image of {size} px"
        ),
        "attention": "Attention of the last block's class token, mean over its heads: of the image, not of the answer",
    }[recipe.report.saliency] + f"; the mean over {over} of the image, 1 at each map's largest."


def _explained(recipe: Recipe) -> list[str]:
    return [label for label, entry in recipe.labels.items() if entry.kind in EXPLAINED]


def _encoder(context: Context, objects: Objects, model: str) -> TimmEncoder:
    """The run's encoder on the context's device; ValueError where the features are another's."""
    recipe = context.recipe
    encoder = (
        load_encoder(context.run.encoder)
        if recipe.pretrains
        else start_encoder(context, objects, recipe.encoder.weights)
    )
    if weights_hash(encoder) != model:
        raise ValueError("the embeddings come from another encoder than the run's; run the embed step again")
    return encoder.to(context.device).eval()


def _sample(context: Context, objects: Objects) -> Float[Tensor, "n c h w"]:
    """Images of the training half as the encoder takes them."""
    rng = np.random.default_rng([context.recipe.seed, STREAM])
    rows = np.sort(rng.permutation(np.flatnonzero(objects.train))[:SAMPLED])
    view = whole_frame(context.recipe.encoder.size)
    return view(objects.store.batch(rows), torch.Generator()).images.to(context.device)


def _permuted(
    objects: Objects, targets: Targets, name: str, embedded: Float32[np.ndarray, "n d"], rng: np.random.Generator
) -> list[FittedHead]:
    """Heads that learnt permuted labels of the training half."""
    learnt = some_of_every_answer(targets.y, np.flatnonzero(objects.train & ~np.isnan(targets.y).all(axis=1)), rng)
    half = TrainingHalf(embedded[learnt], objects.frame["group"].to_numpy(str)[learnt])
    fit, places = TASKS[targets.kind].heads[name], np.arange(len(learnt))
    return [permuted_head(fit, half, places, targets.y[learnt], len(targets.outputs), rng) for _ in range(HEADS)]


def some_of_every_answer(
    y: Float64[np.ndarray, "n t"], known: Int64[np.ndarray, " k"], rng: np.random.Generator
) -> Int64[np.ndarray, " m"]:
    """About MOST_ROWS of the known rows, ascending: of every answer of each column some, or a rare one that is
    explained may not be among them."""
    known = rng.permutation(known)
    rare = [known[column == one][:OF_EACH] for column in y[known].T for one in np.unique(column[~np.isnan(column)])]
    return np.unique(np.concatenate([*rare, known[: max(0, MOST_ROWS - sum(map(len, rare)))]]))


def _maps(
    context: Context, objects: Objects, one: Chosen, encoder: TimmEncoder, head: FittedHead, contrast: Contrast
) -> tuple[Float32[np.ndarray, "h w"], list[np.ndarray], list[np.ndarray]]:
    """The map of one object, those by random encoders, and those by heads of permuted labels."""
    recipe, size = context.recipe, context.recipe.encoder.size
    assert recipe.report.saliency != "off"
    batch = whole_frame(size)(objects.store.batch(np.array([one.row])), torch.Generator())
    shown = Pictured(batch.images[0], batch.valid[0], objects.store.radiometry)
    views: tuple[MapView, ...] = map_views(symmetry(recipe), size)

    def of(network: TimmEncoder, heads: list[FittedHead]) -> Float32[np.ndarray, "m h w"]:
        assert recipe.report.saliency != "off"
        return saliency(recipe.report.saliency, network, heads, one.output, shown, views)

    own, *permuted = of(encoder, [head, *contrast.permuted])
    return own, [of(other, [its])[0] for other, its in contrast.random], permuted


def _facts(by_encoder: list[list[float]], by_labels: list[list[float]], rng: np.random.Generator) -> dict[str, Any]:
    """The verdict and both agreements; no agreement with heads of permuted labels where heads have no say."""
    agreements = [
        agreement(np.array(values, np.float64).reshape(len(values), -1), rng) if values and values[0] else None
        for values in (by_encoder, by_labels)
    ]
    there = [found for found in agreements if found is not None]
    named = dict(
        zip(("encoders", "heads"), [None if found is None else asdict(found) for found in agreements], strict=True)
    )
    return {"verdict": verdict(there) if there else "few", **named}


def _item(
    objects: Objects, targets: Targets, scores: Float64[np.ndarray, "n k"], one: Chosen, own: Float32[np.ndarray, "h w"]
) -> dict[str, Any]:
    """What stands beside a map."""
    y, names = targets.y[one.row], targets.outputs
    if targets.kind == "multilabel":
        answer, truth = ("yes" if one.given else "no"), ("yes" if y[one.output] == 1 else "no")
    else:
        answer, truth = names[int(scores[one.row].argmax())], names[int(y[0])]
    return {
        "object_id": str(objects.frame["object_id"].iloc[one.row]),
        "of": names[one.output],
        "score": float(scores[one.row, one.output]),
        "answer": answer,
        "truth": truth,
        "right": one.right,
        "why": one.why,
        "empty": not np.nan_to_num(own).any(),
    }


def _enlarged(
    objects: Objects, shown: list[Chosen], maps: list[Float32[np.ndarray, "h w"]]
) -> Float32[np.ndarray, "n s s"]:
    """The maps as large as pictures; NaN where an image is hidden or has no value, in the picture as in the map."""
    if not shown:
        return np.empty((0, SIDE, SIDE), np.float32)
    valid: list[Bool[Tensor, "n 1 s s"]] = []
    for start in range(0, len(shown), BATCH):
        rows = np.array([one.row for one in shown[start : start + BATCH]])
        valid.append(whole_frame(SIDE)(objects.store.batch(rows), torch.Generator()).valid)
    planes = torch.from_numpy(np.stack(maps))[:, None]
    large = functional.interpolate(planes.nan_to_num(nan=0.0), size=(SIDE, SIDE), mode="bilinear")
    there = functional.interpolate(planes.isfinite().float(), size=(SIDE, SIDE), mode="nearest") > 0
    return np.asarray(torch.where(torch.cat(valid) & there, large, torch.nan)[:, 0].numpy(), np.float32)
