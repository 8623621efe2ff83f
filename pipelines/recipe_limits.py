"""What the types of a recipe cannot say: bounds of numbers, and parts that must fit each other."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from domainssl.options import CONSISTENCY_KINDS, HEADS, STARTS
from pipelines.recipe_messages import did_you_mean
from pipelines.recipe_methods import method_problems
from pipelines.recipe_radiographs import radiograph_problems
from pipelines.recipe_saliency import saliency_problems

SPLIT_BY_LABEL = "holds a label, which its own score cannot be split by; name another column"
TOLD_BY_LABEL = "holds a label, which would tell itself; name columns that are known before it"
AT_LEAST: dict[str, int] = {
    "seed": 0,
    "store.size": 32,
    "store.crop": 8,
    "encoder.size": 32,
    "pretrain.epochs": 0,
    "pretrain.batch_size": 2,
    "pretrain.images": 2,
    "pretrain.projector_epochs": 0,
    "pretrain.teacher_momentum": 0,
    "pretrain.momentum": 0,
    "pretrain.weight_decay": 0,
    "pretrain.projector_width": 1,
    "pretrain.projection_dim": 1,
    "pretrain.checkpoint_minutes": 0,
    "classify.draws": 1,
    "classify.fine_tuning": 0,
    "classify.consistency": 0,
    "classify.primary_labels": 1,
    "classify.unlabelled": 0,
    "classify.cues": 0,
    "classify.resamples": 1,
    "rank.neighbours": 1,
    "rank.trees": 1,
    "report.top": 0,
    "report.thumbnails": 0,
    "report.saliency_objects": 1,
}
ABOVE: dict[str, int] = {
    "store.arcsec": 0,
    "store.tile_deg": 0,
    "pretrain.seconds": 0,
    "pretrain.temperature": 0,
    "pretrain.encoder_rate": 0,
    "pretrain.projector_rate": 0,
    "classify.specificity": 0,
}
BELOW: dict[str, int] = {
    "seed": 2**63,
    "pretrain.momentum": 1,
    "pretrain.teacher_momentum": 1,
    "classify.specificity": 1,
}
FEWEST_CUES = 40  # half of them test images, of which two answers need ten groups each
# Keys of a label that are for one kind only.
KIND_OF: dict[str, str] = {
    "yes": "yes_no",
    "order": "ordered",
    "outlier": "real",
    "tree": "votes",
    "min_votes": "votes",
}


def find_problems(recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with a recipe (as plain mappings and lists) whose types are right: one line each, maybe none."""
    problems = (
        _numbers(recipe)
        + _store(recipe["store"])
        + _encoder(recipe["encoder"], recipe["store"]["size"])
        + method_problems(recipe)
        + _lists(recipe)
    )
    problems += _labels(recipe["labels"]) + _votes(recipe) + _classify(recipe) + radiograph_problems(recipe)
    problems += saliency_problems(recipe)
    return problems + (_catalogs(recipe["catalog"]) + _uses(recipe) if recipe["catalog"] else [NO_CATALOG])


NO_CATALOG = "catalog: there is none; write a [[catalog]] with name, table, images and bands"


def _numbers(recipe: Mapping[str, Any]) -> list[str]:
    def at(key: str) -> Any:
        value: Any = recipe
        for part in key.split("."):
            value = value[part]
        return value

    given = {key: value for key in (*AT_LEAST, *ABOVE, *BELOW) if (value := at(key)) is not None}
    low = [(key, bound, given[key]) for key, bound in AT_LEAST.items() if key in given and given[key] < bound]
    zero = [(key, bound, given[key]) for key, bound in ABOVE.items() if key in given and given[key] <= bound]
    high = [(key, bound, given[key]) for key, bound in BELOW.items() if key in given and given[key] >= bound]
    return [
        *(f"{key}: {value} is too small; give {bound} or more" for key, bound, value in low),
        *(f"{key}: {value} is too small; give more than {bound}" for key, bound, value in zero),
        *(f"{key}: {value} is too large; give less than {bound}" for key, bound, value in high),
    ]


def _store(store: Mapping[str, Any]) -> list[str]:
    if store["crop"] is None or store["arcsec"] is None:
        return []
    return [
        f"store.arcsec: {store['arcsec']} and store.crop ({store['crop']}) both say how much is cut; "
        "leave one of the two out"
    ]


def _encoder(encoder: Mapping[str, Any], store_size: int) -> list[str]:
    problems = []
    size, weights = encoder["size"], encoder["weights"]
    if size > 2 * store_size:
        problems.append(
            f"encoder.size: {size} is more than twice store.size ({store_size}) and would show blown-up pixels; "
            f"give {2 * store_size} or less, or a larger store.size"
        )
    if weights not in ("imagenet", "none") and not weights.endswith(".safetensors"):
        hint = did_you_mean(weights, ("imagenet", "none"))
        remedy = "give 'imagenet', 'none' or the path of a .safetensors file"
        problems.append(f"encoder.weights: {weights!r} is not known{hint or '; ' + remedy}")
    return problems


def _lists(recipe: Mapping[str, Any]) -> list[str]:
    problems = []
    counts = recipe["classify"]["labels_per_class"]
    if not counts or counts[0] < 1 or any(later <= earlier for earlier, later in pairwise(counts)):
        problems.append(f"classify.labels_per_class: {counts} is out of order; give numbers from 1 up, each larger")
    for section, key in (("classify", "starts"), ("classify", "features"), ("classify", "draw"), ("rank", "detectors")):
        if not _distinct(recipe[section][key]):
            problems.append(f"{section}.{key}: {recipe[section][key]} should name at least one, and none twice")
    return problems


def _labels(labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problems = []
    for name, entry in labels.items():
        kind, columns, prevalence = entry["kind"], entry["columns"], entry["prevalence"]
        if columns and kind not in ("multilabel", "votes"):
            problems.append(f"labels.{name}.columns: a label of kind {kind!r} has one column, its name; leave it out")
        for key, wanted in KIND_OF.items():
            if entry[key] and kind != wanted:
                problems.append(f"labels.{name}.{key}: is for kind {wanted!r}, not {kind!r}; leave it out")
        shares = [prevalence] if isinstance(prevalence, float) else list((prevalence or {}).values())
        if shares and kind not in ("yes_no", "multilabel"):
            problems.append(f"labels.{name}.prevalence: is for yes_no and multilabel, not {kind!r}; leave it out")
        if any(not 0 < share < 1 for share in shares):
            problems.append(f"labels.{name}.prevalence: {prevalence} is not between 0 and 1; give a share such as 0.05")
    return problems


def _votes(recipe: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, entry in recipe["labels"].items():
        if entry["tree"] is None and (entry["form"] != "raw" or entry["min_asked"]):
            key = "min_asked" if entry["min_asked"] else "form"
            problems.append(f"labels.{name}.{key}: is for the question of a tree; name its tree, or leave it out")
        if entry["kind"] == "votes" and entry["tree"] is not None:
            problems += _tree(name, entry, recipe["domain"])
        elif entry["kind"] == "votes" and len(entry["columns"]) < 2:
            problems.append(f"labels.{name}.columns: votes need two columns or more; name one an answer")
        if entry["min_votes"] < 0:
            problems.append(f"labels.{name}.min_votes: {entry['min_votes']} is too small; give 0 or more")
        if not 0 <= entry["min_asked"] <= 1:
            problems.append(f"labels.{name}.min_asked: {entry['min_asked']} is no share; give 0 to 1, such as 0.5")
    return problems


def _tree(name: str, entry: Mapping[str, Any], domain: str) -> list[str]:
    from catalogs.galaxies.question_trees import TREES, questions  # here: few recipes need wait for pandas

    tree = entry["tree"]
    if domain != "galaxies":
        return [f"labels.{name}.tree: is for galaxies; name the columns of the votes in columns"]
    if tree not in TREES:
        return [
            f"labels.{name}.tree: {tree!r} is not known{did_you_mean(tree, TREES) or '; use ' + ' or '.join(TREES)}"
        ]
    if name not in questions(tree):
        hint = did_you_mean(name, questions(tree)) or f"; there are {', '.join(questions(tree))}"
        return [f"labels.{name}: is no question of the tree {tree!r}{hint}"]
    if entry["columns"]:
        return [f"labels.{name}.columns: the tree {tree!r} says which columns; leave out one of the two"]
    if entry["unknown"]:
        return [f"labels.{name}.unknown: missing and negative votes of a tree are unknown as they are; leave it out"]
    if entry["form"] == "debiased" and not TREES[tree].debiased:
        return [f"labels.{name}.form: tables of the tree {tree!r} hold no debiased votes; give 'raw'"]
    return []


def _classify(recipe: Mapping[str, Any]) -> list[str]:
    classify, labels = recipe["classify"], recipe["labels"]
    problems = []
    known = (*STARTS, *recipe["start"])
    problems += [
        f"classify.starts: {name!r} is not known"
        + (did_you_mean(name, known) or f"; give one of {', '.join(known)}, or describe it in [start.{name}]")
        for name in classify["starts"]
        if name not in known
    ]
    problems += [f"start.{name}: is a start by itself; take another name" for name in recipe["start"] if name in STARTS]
    heads = {head for entry in labels.values() for head in HEADS[entry["kind"]]}
    problems += [
        f"classify.heads: {name!r} is no head of these labels{did_you_mean(name, heads) or ''}; "
        f"there are {', '.join(sorted(heads))}"
        for name in classify["heads"]
        if labels and name not in heads
    ]
    if classify["features"][:1] != ["last"]:
        problems.append(
            f"classify.features: {classify['features']} should begin with 'last', by which all are compared"
        )
    kinds = {entry["kind"] for entry in labels.values()}
    if classify["consistency"] > 0 and labels and not kinds & set(CONSISTENCY_KINDS):
        problems.append(
            f"classify.consistency: {classify['consistency']} views are for labels of kind "
            f"{' or '.join(CONSISTENCY_KINDS)}, of which there is none; give 0"
        )
    if classify["aggregate"] == "max" and not kinds <= {"yes_no", "multilabel"}:
        problems.append("classify.aggregate: 'max' is for yes_no and multilabel labels; give 'mean'")
    if 0 < classify["cues"] < FEWEST_CUES:
        problems.append(
            f"classify.cues: {classify['cues']} images are too few to measure anything on; give 1000, or 0 for none"
        )
    wanted, measured = classify["primary_labels"], classify["labels_per_class"]
    if wanted is not None and wanted not in measured:
        problems.append(f"classify.primary_labels: {wanted} is not in labels_per_class; give one of {measured}")
    problems += _splits(classify, labels)
    told = recipe["domain"] == "chest_xrays"  # by headers and collections
    if (
        classify["unit"] == "study"
        and not told
        and not all(entry["columns"].get("study") for entry in recipe["catalog"])
    ):
        problems.append("classify.unit: 'study' needs columns.study in every catalog; name the column of study ids")
    return problems


def _splits(classify: Mapping[str, Any], labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Columns that scores are split by or compared with; whether the catalog has them is known when it was read."""
    problems = []
    for key in ("subgroups", "metadata"):
        if len(set(named := classify[key])) < len(named) or "" in named:
            problems.append(f"classify.{key}: {named} should name columns, and none twice")
    held = {column for label, entry in labels.items() for column in entry["columns"] or (label,)}
    for key, names, why in (
        ("subgroups", classify["subgroups"], SPLIT_BY_LABEL),
        ("transfer", [name for name in (classify["transfer"],) if name != "site"], SPLIT_BY_LABEL),
        ("metadata", classify["metadata"], TOLD_BY_LABEL),
    ):
        problems += [f"classify.{key}: {name!r} {why}" for name in names if name in held]
    return problems


def _catalogs(catalogs: Sequence[Mapping[str, Any]]) -> list[str]:
    problems = []
    every = list(dict.fromkeys(band for entry in catalogs for band in entry["bands"]))
    for number, entry in enumerate(catalogs):
        key = f"catalog.{number}"
        bands, files, white = entry["bands"], entry["columns"].get("file"), entry["white"]
        if not entry["name"].strip():
            problems.append(f"{key}.name: is empty; give the catalog a name")
        if entry["name"] in [earlier["name"] for earlier in catalogs[:number]]:
            problems.append(f"{key}.name: {entry['name']!r} is taken by an earlier catalog; give each its own")
        if not _distinct(entry["use"]):
            problems.append(f"{key}.use: {entry['use']} should name at least one, and none twice")
        if entry["table"] is None and entry["images"] is None:
            problems.append(f"{key}.table: missing; give a table, or the folder to scan as images")
        if not _distinct(bands) or "" in bands:
            problems.append(f"{key}.bands: {bands} should name at least one band, and none twice")
        elif set(bands) != set(every) and entry["missing_band"] != "mask":
            lacking = ", ".join(band for band in every if band not in bands)
            problems.append(
                f"{key}.bands: {bands} lacks {lacking} of another catalog; give all the same bands, "
                f"or missing_band = 'mask' in {entry['name']!r}"
            )
        if isinstance(files, dict) and set(files) != set(bands):
            problems.append(f"{key}.columns.file: {files} does not fit the bands {bands}; name one column a band")
        if white is not None and white <= 0:
            problems.append(f"{key}.white: {white} is too small; give the pixel value of white, such as 4095")
        problems += _cutout(key, entry) + _matches(key, entry) + _survey(key, entry["survey"])
    return problems


def _cutout(key: str, entry: Mapping[str, Any]) -> list[str]:
    cutout = entry["cutout"]
    if cutout is None:
        return []
    if set(cutout) not in ({"arcsec"}, {"column", "times"}):
        return [f'{key}.cutout: {cutout} should be {{ arcsec = 20.0 }}, or {{ column = "radius", times = 4.0 }}']
    size = cutout.get("arcsec", cutout.get("times"))
    if size <= 0:
        return [f"{key}.cutout: {size} is too small; give more than 0"]
    if entry["table"] is None:
        return [f"{key}.table: missing; cutting from survey images needs a table with ra and dec"]
    if entry["object_per_hdu"]:
        return [f"{key}.object_per_hdu: cutouts are cut by position from whole images; leave one of the two out"]
    return []


def _survey(key: str, survey: str | None) -> list[str]:
    from catalogs.galaxies.extinction import COEFFICIENTS, survey_name  # here: few recipes need wait for numpy

    if survey is None or survey_name(survey) in COEFFICIENTS:
        return []
    hint = did_you_mean(survey.lower(), COEFFICIENTS) or f"; there are {', '.join(COEFFICIENTS)}"
    return [f"{key}.survey: {survey!r} is not known{hint}"]


def _matches(key: str, entry: Mapping[str, Any]) -> list[str]:
    problems = []
    for number, match in enumerate(entry["match"]):
        if not _distinct(match["columns"]):
            named = match["columns"]
            problems.append(f"{key}.match.{number}.columns: {named} should name at least one, and none twice")
        if match["radius"] <= 0:
            problems.append(f"{key}.match.{number}.radius: {match['radius']} is too small; give arcsec above 0")
    return problems


def _uses(recipe: Mapping[str, Any]) -> list[str]:
    problems = []
    used = {use for entry in recipe["catalog"] for use in entry["use"]}
    if recipe["labels"] and "classify" not in used:
        names = sorted(recipe["labels"])
        problems.append(f"labels: {names} are for no catalog; add 'classify' to the use of one, or take them out")
    if recipe["pretrain"]["epochs"] != 0 and "pretrain" not in used:
        problems.append("catalog: none has 'pretrain' in use; add it to one, or set pretrain.epochs = 0")
    return problems


def _distinct(names: Sequence[str]) -> bool:
    return 0 < len(names) == len(set(names))
