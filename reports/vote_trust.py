"""How far to trust predicted vote distributions: what their intervals held, and what the images add."""

from collections.abc import Mapping
from html import escape
from typing import Any

from reports.number_words import percent

STATES = {"calibrated": "better", "too narrow": "worse", "too wide": "worse", "not estimable": "unknown"}


def votes_part(votes: Mapping[str, Any] | None) -> str:
    """A label's part of the trust section, which begins with its finding; `votes` is that of certainty.json.

    None where no test object has votes.
    """
    if votes is None:
        return '<p class="soft">Nothing is said of intervals: no labelled test object has votes.</p>'
    return (
        f'<div class="verdict {STATES[votes["called"]]}"><p><strong>{verdict_sentence(votes)}</strong> '
        f"{held_sentence(votes)}</p>"
        f"<p>{_likelihood(votes)}</p></div>{_table(votes)}"
    )


def verdict_sentence(votes: Mapping[str, Any]) -> str:
    """Whether intervals of votes hold what they promise, in plain text."""
    groups = f"{votes['groups']:,}"
    if votes["called"] == "not estimable":
        return f"Whether intervals of votes hold what they promise is not estimable: {groups} test groups are too few."
    beyond = any(level["low"] > 0 or level["high"] < 0 for level in votes["levels"])
    if votes["called"] == "calibrated" and beyond:
        return (
            f"Intervals of votes were off by no more than {100 * votes['tolerated']:.0f} points: they held nearly as "
            f"many of the votes of {groups} test groups as expected."
        )
    if votes["called"] == "calibrated":
        return f"Intervals of votes may be trusted: they held as many of the votes of {groups} test groups as expected."
    meant = "volunteers disagreed more than was predicted" if votes["called"] == "too narrow" else "they hold too much"
    return f"Intervals of votes are {votes['called']}: {meant}."


def held_sentence(votes: Mapping[str, Any]) -> str:
    """How much they held and promised, in plain text."""
    level = votes["levels"][0]
    difference = f"{100 * level['low']:+.1f} to {100 * level['high']:+.1f} points".replace("-", "−")
    return (
        f"Intervals that promise {percent(level['promised'])} held {percent(level['value'], 1)} of the counts, where "
        f"{percent(level['expected'], 1)} were expected, since counts are whole (difference {difference}, 95 % "
        f"interval). Those of predictions.parquet are for {votes['volunteers']:,} volunteers."
    )


def _likelihood(votes: Mapping[str, Any]) -> str:
    nats = votes["nats"]
    if nats["low"] > 0:
        said = "The images tell how people will vote"
    elif nats["high"] < 0:
        said = "The votes were likelier without the images"
    else:
        said = "It is not clear that the images tell how people will vote"
    gain = f"{nats['gain']:+.3f} ({nats['low']:+.3f} to {nats['high']:+.3f})".replace("-", "−")
    return (
        f"{said}: a vote's log-likelihood is {nats['value']:.3f} nats, and {nats['pooled']:.3f} by one distribution "
        f"for all objects; {gain}.".replace(" -", " −")
    )


def _table(votes: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="number">{percent(facts["value"], 1)}</td>'
        f'<td class="number">{percent(facts["expected"], 1)}</td></tr>'
        for name, facts in [
            *((f"all answers, {percent(level['promised'])} intervals", level) for level in votes["levels"]),
            *((escape(name), facts) for name, facts in votes["answers"].items()),
        ]
    )
    return (
        "<details><summary>Intervals by answer</summary><p>Exploratory: of single answers those of "
        f"{percent(votes['levels'][0]['promised'])}.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">Answer</th>'
        '<th scope="col" class="number">Held</th><th scope="col" class="number">Expected</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )
