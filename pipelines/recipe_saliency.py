"""What a recipe may ask of saliency maps: a label that has classes, a linear head, a method that fits the encoder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from domainssl.options import HEADS
from domainssl.saliency.applies import not_applicable

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

EXPLAINED = ("classes", "yes_no", "multilabel")  # kinds of label
LINEAR = ("linear", "lda", "self_training")  # heads
MOST_LABELS, MOST_OBJECTS = 6, 60  # of a page


def saliency_problems(recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with a recipe's saliency maps, as far as that is known without torch: one line each, maybe none."""
    method, encoder = recipe["report"]["saliency"], recipe["encoder"]
    if method == "off":
        return []
    problems = []
    if reason := not_applicable(method, encoder["name"], encoder["size"]):
        problems.append(f"report.saliency: {reason}")
    kinds = {entry["kind"] for entry in recipe["labels"].values() if entry["kind"] in EXPLAINED}
    if not kinds:
        problems.append(f"report.saliency: there is no label of {', '.join(EXPLAINED)} to explain; give 'off'")
    for kind in sorted(kinds):
        wanted = [head for head in recipe["classify"]["heads"] if head in HEADS[kind]] or HEADS[kind][:1]
        if wanted[0] not in LINEAR:
            problems.append(
                f"report.saliency: the head that predicts is {wanted[0]!r}, which is not linear; "
                "begin classify.heads with 'linear'"
            )
            break
    if (count := recipe["report"]["saliency_objects"]) > MOST_OBJECTS:
        problems.append(f"report.saliency_objects: {count} is too large for a page; give {MOST_OBJECTS} or less")
    return problems


def check_saliency(recipe: "Recipe") -> None:
    """Raises RecipeError where the network's own stride makes the map too coarse."""
    from pipelines.recipe import RecipeError

    method, encoder = recipe.report.saliency, recipe.encoder
    if method == "off":
        return
    import timm
    import torch

    import domainssl.dense  # noqa: F401 - timm then knows its networks by name

    with torch.device("meta"):  # the shape of the network, none of its numbers
        network = timm.create_model(encoder.name, pretrained=False)
    stages = getattr(network, "feature_info", None) or [{}]
    if reason := not_applicable(method, encoder.name, encoder.size, stages[-1].get("reduction")):
        raise RecipeError(f"report.saliency: {reason}")
