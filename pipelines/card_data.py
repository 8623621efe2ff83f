"""Sections of the model card on its purpose and on the images that were learnt from."""

from catalogs.chest_xrays.collections import COLLECTIONS as LAYOUTS
from catalogs.fetch.collections import COLLECTIONS
from pipelines.card_facts import CardFacts, several
from reports.model_card import CardSection, Table
from reports.suppression import NOT_SMALL, SMALL, suppressed


def purpose(facts: CardFacts) -> CardSection:
    """What this is, what it is for and what not."""
    recipe, known = facts.recipe, facts.encoder
    bands = ", ".join(recipe.bands)
    what = f"{several(len(recipe.bands), 'band', 'bands')} ({bands}), {recipe.encoder.size} pixels a side"
    size = "" if known is None else f" of {known.parameters:,} parameters"
    width = facts.record("embed").get("width")
    heads = several(len(recipe.labels), "label", "labels")
    finding = (
        f"An encoder{size} ({recipe.encoder.name}) that turns pictures of {facts.domain.title.lower()} in {what}, into "
        f"{width:,} numbers, with heads for {heads}."
    )
    said = [
        "For research on images of the same kind, prepared in the same way: embeddings, classes from few labels, and a "
        "ranking of what is unlike the rest, to be looked at by a person.",
        "Not for images of another instrument, survey, site or selection before a score was measured there: nothing "
        "here was measured on any.",
    ]
    if facts.domain.private:
        said.append(
            "Not for any decision about a person: nobody has tested what using it does. Embeddings, heads and this "
            "run's other files are personal data."
        )
    if not facts.objects.simulated:
        said.append(f"The catalog calls none of these {facts.image} simulated.")
    if facts.domain.private and not facts.shared:
        said.append(
            "This card names no person, file or date, and counts below 10 are hidden in its tables, but not in its "
            "sentences: it is not made for handing out. domainssl report --share writes one that is, into shared.html."
        )
    return CardSection("What it is and what it is for", finding, tuple(said))


def data(facts: CardFacts) -> CardSection:
    """Catalogs, halves, preparation, and what was left out."""
    recipe = facts.recipe
    catalogs = several(len(recipe.catalog), "catalog", "catalogs")
    finding = f"{facts.counted()} from {catalogs}{_halves(facts)}."
    said = [_halved(facts), _transductive(facts), *_prepared(facts), *_duplicates(facts)]
    if facts.shared:  # that page has a section of its own on what was left out
        return CardSection("Data", finding, tuple(filter(None, said)))
    said += facts.cohort
    hidden = suppressed(facts.refused)
    total = hidden.total if facts.strict else f"{sum(facts.refused.values()):,}"
    said.append(f"Left out: {total} {facts.image}." if facts.refused else f"No {facts.image[:-1]} was left out.")
    said += _licences(facts)
    cells = hidden.cells if facts.strict else {name: f"{count:,}" for name, count in facts.refused.items()}
    refused = Table("Left out, by reason", ("Reason", facts.image), tuple(cells.items()))
    tables = (_catalog_table(facts), refused)
    return CardSection("Data", finding, tuple(filter(None, said)), tables)


def licences_known(facts: CardFacts) -> bool:
    """Whether the terms of all catalogs' images are known to us."""
    return all(entry.licence or entry.name in COLLECTIONS for entry in facts.recipe.catalog)


def _halves(facts: CardFacts) -> str:
    """The size of both halves; shared, as far as none tells the other's from the total."""
    half = facts.objects.frame["half"]
    if not facts.shared:
        return (
            f": {facts.counted(half == 'train')} in the training half, {facts.counted(half == 'test')} in the test half"
        )
    groups = {str(name): own for name, own in facts.objects.frame["group"].groupby(half)}
    sizes = {name: len(own) for name, own in groups.items()}
    people = {name: int(own.nunique()) for name, own in groups.items()}
    hidden = suppressed(sizes, people, int(facts.objects.frame["group"].nunique()))
    if hidden.total in (SMALL, NOT_SMALL):
        return ""
    shown = [
        f"{hidden.cells.get(name, '0')} in the {word} half" for name, word in (("train", "training"), ("test", "test"))
    ]
    return f": {', '.join(shown)}"


def _halved(facts: CardFacts) -> str:
    frame, entries = facts.objects.frame, facts.recipe.catalog
    named = "numbers" if facts.domain.private else "names"
    dealt = "dealt by labels and site" if facts.recipe.split == "stratified" else f"by a hash of their {named}"
    if facts.domain.private:
        if facts.recipe.labels and not facts.shared:
            return ""  # the cohort's first sentence says it
        return f"Patients go to the halves {dealt}, unless the table says which; no patient's number is in both."
    if frame["group"].nunique() == len(frame):
        what = "Each object is a group of its own"
    elif any("group" in entry.columns for entry in entries):
        what = "Objects of one group of the catalog stay together"
    else:
        what = f"Objects of one tile of {facts.recipe.store.tile_deg:g} degrees stay together"
    return f"{what}; groups go {dealt}, unless the table says which half."


def _transductive(facts: CardFacts) -> str:
    if facts.recipe.classify.transductive:
        return "Pretraining saw the images of the test half too (transductive), so scores on it are optimistic."
    return (
        "The test half took no part in pretraining, in any choice, or in the heads' learning."
        if facts.recipe.labels
        else ""
    )


def _prepared(facts: CardFacts) -> list[str]:
    store, recipe = facts.recipe.store, facts.recipe
    stretch = (
        "as they are"
        if facts.encoder is None
        else {
            "none": "as they are",
            "asinh": "stretched by asinh at one sky sigma",
            "linear": "linear, cut off at bright cores",
        }[facts.encoder.input["stretch"]]
    )
    cut = (
        f", cut to {store.crop} source pixels"
        if store.crop
        else f", cut to {store.arcsec:g} arcsec"
        if store.arcsec
        else ""
    )
    said = [
        f"Stored at {store.size} pixels a side{cut}; the encoder takes {recipe.encoder.size}, values {stretch}, and "
        "normalises them itself."
    ]
    if not facts.shared and (name := facts.record("prepare").get("preparation")):
        said.append(f"Name of the preparation, which the encoder demands of new images: {name}.")
    return said


def _duplicates(facts: CardFacts) -> list[str]:
    if facts.shared:
        return []
    counts = facts.record("prepare").get("counts", {})
    if not facts.recipe.store.duplicates:
        return ["Duplicates were not looked for (store.duplicates)."]
    found, torn = counts.get("duplicates", 0), counts.get("duplicates in both halves", 0)
    both = f"; of {torn:,} both halves have one, which flatters every score" if torn else ""
    return [f"{found:,} {facts.image} stand there more than once{both}." if found else "No duplicates were found."]


def _licences(facts: CardFacts) -> list[str]:
    said = []
    for entry in facts.recipe.catalog:
        if entry.licence:
            said.append(f"Catalog {entry.name}: licence of its images, by the recipe: {entry.licence}.")
        elif entry.name in COLLECTIONS:
            known = COLLECTIONS[entry.name]
            said.append(f"Catalog {entry.name} bears the name of {known.title}: {known.licence}. See {known.homepage}.")
        elif entry.layout is not None:
            title = LAYOUTS[entry.layout].title
            said.append(f"Catalog {entry.name} is {title}; its terms of use are those of its publisher.")
        else:
            said.append(f"Catalog {entry.name}: the licence of its images is not stated (catalog.*.licence).")
    return said


def _catalog_table(facts: CardFacts) -> Table:
    frame, rows = facts.objects.frame, []
    for entry in facts.recipe.catalog:
        own = frame[frame["catalog"] == entry.name]
        people = own["group"].nunique()
        cells = (facts.number(len(own), people), facts.number(people))
        rows.append((entry.name, ", ".join(entry.use), ", ".join(entry.bands), *cells))
    return Table("Catalogs", ("Catalog", "Used for", "Bands", facts.image, facts.group), tuple(rows))
