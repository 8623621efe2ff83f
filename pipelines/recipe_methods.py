"""What the types of a recipe cannot say of pretraining: that the method applies, and bounds of what is its own."""

import math
import re
from collections.abc import Mapping
from typing import Any

from domainssl.method_options import DenoisingOptions, denoising_problems
from domainssl.methods.registry import DENSE, METHODS, not_applicable
from pipelines.recipe_messages import did_you_mean

# Of each number: the least and the largest that make sense. Shares exclude their ends where nothing would be left.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "sparse_autoencoder.weight": (0, math.inf),
    "sparse_autoencoder.rho": (1e-6, 1 - 1e-6),
    "sparse_autoencoder.latent": (1, math.inf),
    "sparse_autoencoder.memory": (0, 1 - 1e-6),
    "contractive_autoencoder.weight": (0, math.inf),
    "contractive_autoencoder.latent": (1, math.inf),
    "contractive_autoencoder.probes": (1, math.inf),
    "variational_autoencoder.latent": (1, math.inf),
    "variational_autoencoder.beta": (0, math.inf),
    "context_encoder.adversary": (0, math.inf),
    "colorization.classes": (2, 256),
    "mae.mask_ratio": (0.01, 0.99),
    "mae.decoder_depth": (1, math.inf),
    "relative_patch.gap": (0, 2),
    "relative_patch.jitter": (0, 1),
    "jigsaw.permutations": (2, 10_000),
    "jigsaw.gap": (0, 2),
    "jigsaw.jitter": (0, 1),
    "exemplar.classes": (2, math.inf),
    "exemplar.distortions": (1, math.inf),
    "exemplar.colour": (0, 1),
    "siamese.margin": (1e-6, math.inf),
    "triplet.margin": (1e-6, 4),
    "moco.queue": (1, math.inf),
    "cpc.patches": (3, 32),
    "cpc.ahead": (1, 30),
    "deep_infomax.global_weight": (0, math.inf),
    "deep_infomax.local_weight": (0, math.inf),
    "dino.prototypes": (2, math.inf),
    "dino.student_temperature": (1e-6, math.inf),
    "dino.teacher_temperature": (1e-6, math.inf),
    "dino.centre_momentum": (0, 1 - 1e-6),
    "dino.local_crops": (0, 64),
    "ijepa.targets": (1, 64),
    "ijepa.predictor_depth": (1, math.inf),
}
HEAD = 32  # widths of small transformers are multiples of their attention heads'


def method_problems(recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with a recipe's pretraining: one line each, maybe none."""
    pretrain, method = recipe["pretrain"], recipe["pretrain"]["method"]
    if method not in METHODS:
        hint = did_you_mean(method, METHODS) or "; `domainssl methods` lists them"
        return [f"pretrain.method: {method!r} is not known{hint}"]
    problems = _bounds(pretrain) + denoising_problems(DenoisingOptions(**pretrain["denoising_autoencoder"]))
    bands = {band for entry in recipe["catalog"] for band in entry["bands"]}
    reason = not_applicable(method, recipe["encoder"]["name"], len(bands)) if bands else None
    if reason and pretrain["epochs"] != 0:
        problems.append(f"pretrain.method: {reason}")
    if "labels" in METHODS[method].needs and not pretrain["supervised"]["column"]:
        problems.append(f"pretrain.supervised.column: {method} needs one; name a column of the catalog to learn")
    elif pretrain["epochs"] != 0:
        problems += _encoder(recipe, method)
    column = pretrain["supervised"]["column"]
    if column and column in _evaluated(recipe["labels"]):
        problems.append(f"pretrain.supervised.column: {column!r} is evaluated as a label; name another column")
    given = [key for key in ("epochs", "images", "seconds") if pretrain[key] is not None]
    if len(given) > 1:
        problems.append(f"pretrain.{given[1]}: pretrain.{given[0]} says how long as well; leave one of the two out")
    return problems


def _evaluated(labels: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {column for name, entry in labels.items() for column in (entry["columns"] or [name])}


def _encoder(recipe: Mapping[str, Any], method: str) -> list[str]:
    """What stands against this method's training the recipe's encoder, where it is of the right kind."""
    name, size, weights = (recipe["encoder"][key] for key in ("name", "size", "weights"))
    problems = []
    if name.startswith(DENSE):
        if weights == "imagenet":
            problems.append(f"encoder.weights: there are no ImageNet weights of {name}; give 'none'")
        if "imagenet" in recipe["classify"]["starts"]:
            problems.append(f"classify.starts: there are no ImageNet weights of {name}; give ['random', 'continued']")
    if method == "linear_autoencoder" and not name.startswith("dense_"):
        problems.append(f"encoder.name: {name} is not linear, as {method} is; give 'dense_32'")
    patch = re.search(r"patch(\d+)", name)
    if "tokens" in METHODS[method].needs and patch and size % int(patch[1]):
        problems.append(f"encoder.size: {size} is no multiple of the {patch[1]} px patches of {name}; give such a one")
    return problems


def _bounds(pretrain: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, (least, largest) in BOUNDS.items():
        table, name = key.split(".")
        value = pretrain[table][name]
        if not least <= value <= largest:
            allowed = f"{least:g} or more" if largest == math.inf else f"{least:g} to {largest:g}"
            problems.append(f"pretrain.{key}: {value} is out of range; give {allowed}")
    for key in ("mae.decoder_width", "ijepa.predictor_width"):
        table, name = key.split(".")
        if (width := pretrain[table][name]) < HEAD or width % HEAD:
            problems.append(f"pretrain.{key}: {width} is no multiple of {HEAD}; give {HEAD}, {2 * HEAD} or more")
    codes = pretrain["autoencoder"]["codes"]
    if any(code < 1 for code in codes) or len(set(codes)) < len(codes):
        problems.append(f"pretrain.autoencoder.codes: {codes} should be numbers from 1 up, none twice")
    if pretrain["cpc"]["ahead"] > pretrain["cpc"]["patches"] - 2:
        ahead, patches = pretrain["cpc"]["ahead"], pretrain["cpc"]["patches"]
        problems.append(f"pretrain.cpc.ahead: {ahead} rows ahead in {patches} are too many; give {patches - 2} or less")
    for table in ("relative_patch", "jigsaw"):
        gap, jitter = pretrain[table]["gap"], pretrain[table]["jitter"]
        if jitter > gap / 2:
            problems.append(
                f"pretrain.{table}.jitter: {jitter} lets patches overlap; give at most half of the gap, {gap / 2:g}"
            )
    infomax, dino = pretrain["deep_infomax"], pretrain["dino"]
    if infomax["global_weight"] == infomax["local_weight"] == 0:
        problems.append("pretrain.deep_infomax.local_weight: both weights are 0; give one of them more")
    if dino["teacher_temperature"] >= dino["student_temperature"]:
        warm, cold = dino["teacher_temperature"], dino["student_temperature"]
        problems.append(f"pretrain.dino.teacher_temperature: {warm} is not below the student's {cold}; give less")
    for key in ("target_area", "context_area"):
        low, high = pretrain["ijepa"][key]
        if not 0 < low <= high <= 1:
            problems.append(f"pretrain.ijepa.{key}: {[low, high]} is no range of shares; give such as [0.15, 0.2]")
    return problems
