"""The model card's section on weights: where they began, under which licence, what training made of them."""

from domainssl.methods.registry import METHODS
from domainssl.weights_sources import imagenet_source
from pipelines.card_facts import CardFacts, several
from pipelines.findings import collapse_sentences
from reports.model_card import CardSection, Table

# By the terms of access at https://image-net.org/download.php.
_IMAGENET_TERMS = (
    "ImageNet gives its images for non-commercial research and education only; whether weights that learnt from them "
    "are bound by that is not settled, so ask before any other use."
)
_OURS = "This run gives its own weights no licence: the terms of the start, of the images and of the labels come first."


def weights(facts: CardFacts) -> CardSection:
    """The section; without pretraining, of the encoder as it came."""
    recipe, trained = facts.recipe, facts.record("pretrain")
    start, licence, warning = _start(facts)
    short = start.partition(" (sha256")[0]
    rows = [("Network", f"{recipe.encoder.name}, of timm {facts.manifest['versions'].get('timm')}")]
    rows.append(("Start", start))
    rows.append(("Licence of the start", licence))
    if facts.encoder is not None:
        rows.append(("Parameters", f"{facts.encoder.parameters:,}"))
    if not recipe.pretrains:
        finding = f"The encoder is used as it came, after 0 epochs of training here: {short}."
    else:
        how = f"trained here by {recipe.pretrain.method} in {several(int(trained['epochs']), 'epoch', 'epochs')}"
        if not facts.shared:
            how += f", {trained['final'].get('images', 0):,} images seen of {trained['images']:,} different ones"
        finding = f"Started from {short}; {how}. {_fate(str(trained['guard']['chosen']))}"
        rows += _training_rows(facts)
    rows += _hash_rows(facts)
    said = [] if not recipe.pretrains or facts.shared else [str(trained["guard"]["why"])]
    said += collapse_sentences([dict(record) for record in facts.training]) if recipe.pretrains else []
    said += [_IMAGENET_TERMS] if recipe.encoder.weights == "imagenet" else []
    said.append(_OURS)
    table = Table("Weights", ("What", "Value"), tuple(rows))
    return CardSection("Encoder and weights", finding, tuple(said), (table,), "worse" if warning else "unknown")


def _fate(chosen: str) -> str:
    if chosen == "start":
        return "None of that was exported: the start was kept as it was."
    return (
        f"It was exported as it was after {chosen}." if chosen.startswith("epoch") else "It was exported as it ended."
    )


def _start(facts: CardFacts) -> tuple[str, str, bool]:
    """Where the start's weights are from, their licence, and whether that is to be warned of."""
    weights = facts.recipe.encoder.weights
    if weights == "none":
        return "random weights", "none is needed: they are of nobody", False
    if weights == "imagenet":
        source = imagenet_source(facts.recipe.encoder.name)
        licence = f"{source.licence} (of the weights' file)" if source.licence else "not stated where they are from"
        digest = f" (sha256 {source.sha256})" if source.sha256 and not facts.shared else ""
        return f"ImageNet weights ({source.learnt_from}) of {source.where}{digest}", licence, not source.licence
    digest = facts.manifest.get("inputs", {}).get("weights", {}).get("weights", "")
    told = f" (sha256 {digest})" if len(digest) == 64 and not facts.shared else ""
    return f"a file of the user's{told}", "not known", True


def _training_rows(facts: CardFacts) -> list[tuple[str, str]]:
    options = facts.record("pretrain")["options"]
    method = METHODS[facts.recipe.pretrain.method]
    guard = facts.record("pretrain")["guard"]
    alone = sum(record["phase"] == "projector" for record in facts.training)
    by = "a head on labels of the training half" if guard.get("labelled") else "a label-free score"
    return [
        ("Method", f"{facts.recipe.pretrain.method} ({method.source})"),
        ("Epochs", f"{len(facts.training)} begun, {alone} of them ended with the projector alone"),
        ("Batch", f"{options['batch_size']}"),
        ("Optimiser", f"{options['optimiser']}, rate {options['encoder_rate']:g} of the encoder"),
        ("Start and checkpoints compared by", by if guard["candidates"] else "nothing (pretrain.guard = 'off')"),
    ]


def _hash_rows(facts: CardFacts) -> list[tuple[str, str]]:
    precision = facts.manifest.get("precision", {}).get("dtype", "not recorded")
    rows = [("Numbers it computes in", str(precision))]
    if facts.shared:
        return rows
    if facts.encoder_hash is not None:
        rows.append(("sha256 of encoder.safetensors", facts.encoder_hash))
    rows.append(("sha256 of its tensors", str(facts.record("embed").get("weights"))))
    return rows
