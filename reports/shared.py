"""The page that can be handed out: aggregate results alone, small counts hidden; it runs no script and shows no image.

Everything that it holds passes through here, and only what is named here gets in: a new part of the report stays out
until its counts and texts have been thought of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, final

from reports import sections
from reports.atomic import replacing
from reports.model_card import ModelCard, card_html
from reports.shared_rows import shared_rows
from reports.shared_subgroups import shared_subgroups
from reports.subgroups import subgroups_section
from reports.suppression import FEWEST, NOT_SMALL, OLDEST, SMALL, suppressed, top_coded


@final
@dataclass(frozen=True)
class Counted:
    """How many images there are, and of how many people; for objects that are nobody's, the same number twice."""

    images: int
    people: int


@final
@dataclass(frozen=True)
class SharedPage:
    """What the page shows; see reports.page.Page for `metrics`, `subgroups`, `training` and `guard`.

    `title`, `notices`, `findings`, `guard` and `provenance` must hold no count of people or images, no id and no name
    that comes from data; `card` (see pipelines.card_facts) none of few. Labels and classes in `metrics` are shown, as
    far as they are of enough people. `used` are the images of the run, `left_out` those left out by reason,
    `left_out_people` all to whom these belong. `image` and `person` are what they are called, in the plural.
    """

    title: str
    used: Counted
    left_out: Mapping[str, Counted] = field(default_factory=dict)
    left_out_people: int = 0
    notices: Sequence[str] = ()
    findings: Sequence[str] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    subgroups: Sequence[Mapping[str, Any]] = ()
    training: Sequence[Mapping[str, Any]] = ()
    guard: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: ModelCard | None = None
    image: str = "images"
    person: str = "patients"


def write_shared(path: Path, page: SharedPage) -> None:
    """Writes the page as one UTF-8 HTML file, under another name first; equal pages give equal files.

    Its content security policy allows its own style and nothing else: no script, no picture, no request.
    """
    assets = files("reports") / "assets"
    text = Template((assets / "shared.html").read_text(encoding="utf-8")).substitute(
        title=escape(page.title),
        subtitle=f"Aggregate results of {_used(page)}; no data of single {escape(page.person)}",
        style=(assets / "page.css").read_text(encoding="utf-8"),
        notices=sections.sentences(list(map(top_coded, page.notices)), "notices"),
        about=_about(page),
        findings=sections.sentences(list(map(top_coded, page.findings)), "findings", empty="None were written."),
        few_labels=sections.few_labels(shared_rows(page.metrics)),
        subgroups=subgroups_section(shared_subgroups(page.subgroups)),
        training=sections.training(page.training, page.guard),
        left_out=_left_out(page),
        provenance=sections.provenance(_coded(page.provenance)),
        card_link='\n<a href="#model-card">Model card</a>' if page.card else "",
        card=card_html(page.card, "The run's own card says more."),
    )
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", errors="replace"))


def _about(page: SharedPage) -> str:
    image, person = escape(page.image), escape(page.person)
    single = image if image == person else f"{image} or {person}"
    few = f"fewer than {FEWEST} {image}"
    few += "" if image == person else f", or of {image} of fewer than {FEWEST} {person},"
    absent = (
        "images, thumbnails, the map and its points, embeddings, predictions, ranked anomalies, ids and pseudonyms: "
        f"nothing is about one of the {person} alone",
        "names of catalogs, sites, tables and files, hashes of data and weights, dates and times",
    )
    rules = (
        f"A count of {few} is shown as “{SMALL}”. Where it could be had by subtracting the other counts from their "
        f"total, the next smallest is shown as “{NOT_SMALL}”; where that is not enough, the total is not shown either.",
        f"Numbers of test groups ({person}) are rounded down to tens. Numbers of labels per class are settings of the "
        "experiment and count nobody; how many labels that makes in all is left out.",
        f"A score that rests on fewer than {FEWEST} test groups with the answer, or without it, is not estimable, and "
        "a class without an estimable score is not named.",
        f"Ages above {OLDEST} are written {OLDEST + 1}+.",
    )
    return (
        f"<p>Tables and curves over many {single}, taken from one run of domainssl so that they can be handed out. "
        f"{escape(page.image.capitalize())} and everything else that is about a single one stay in the run's own "
        "folder.</p>"
        f"<h3>Left out</h3>{_list(absent)}<h3>By these rules</h3>{_list(rules)}"
        '<div class="verdict worse"><p><strong>Hiding small counts is no proof of anonymity.</strong> Whoever knows '
        f"something of the {person} already, or compares this page with another of nearly the same {person}, may learn "
        "more than it says. Whether it may leave the project is decided by those who answer for the data. It says "
        "nothing of other files of the run: report.html, embeddings, encoders and heads are not made for handing "
        "out.</p></div>"
    )


def _left_out(page: SharedPage) -> str:
    """How many images were not used, by reason, as far as it may be said."""
    used = f"<p>{_used(page)} were used"
    if not page.left_out:
        return f"{used}, and none was left out.</p>"
    counts = {reason: counted.images for reason, counted in page.left_out.items()}
    people = {reason: counted.people for reason, counted in page.left_out.items()}
    shown = suppressed(counts, people, page.left_out_people)
    exact = [reason for reason, text in shown.cells.items() if text not in (SMALL, NOT_SMALL)]
    hidden = [reason for text in (NOT_SMALL, SMALL) for reason in sorted(counts) if shown.cells[reason] == text]
    rows = "".join(
        f'<tr><th scope="row">{escape(reason)}</th><td class="number">{escape(shown.cells[reason])}</td></tr>'
        for reason in [*sorted(exact, key=lambda reason: (-counts[reason], reason)), *hidden]
    )
    return (
        f"{used}; left out: {escape(shown.total)}.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">Reason</th>'
        f'<th scope="col" class="number">{escape(page.image.capitalize())}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _used(page: SharedPage) -> str:
    few = min(page.used.images, page.used.people) < FEWEST
    return f"{escape(SMALL) if few else f'{page.used.images:,}'} {escape(page.image)}"


def _list(items: Sequence[str]) -> str:
    return '<ul class="findings">' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _coded(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with their texts, and the names that the user gave them, top-coded."""
    return {top_coded(name): _coded_value(value) for name, value in facts.items()}


def _coded_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _coded(value)
    return top_coded(value) if isinstance(value, str) else value
