"""pydantic's findings about a recipe in one line each: which key, what value, what to do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

EXPECTED = {
    "int_type": "is not a whole number",
    "int_parsing_size": "is not a whole number of a usual size",
    "float_type": "is not a number",
    "string_type": "is not text; put it in quotes",
    "path_type": "is not text; put the path in quotes",
    "bool_type": "is neither true nor false",
    "tuple_type": "is not a list; write it in [ ]",
    "finite_number": "is not a finite number",
}
EXAMPLES = {
    "domain": "write domain = 'galaxies' or 'chest_xrays'",
    "catalog": "write a [[catalog]] with name, table, images and bands",
    "name": "give the catalog a name",
    "bands": "name the bands in the order of the images, such as bands = ['g', 'r', 'z']",
    "kind": "write kind = 'classes', 'yes_no', 'multilabel', 'ordered', 'real' or 'votes'",
}

Place = tuple[int | str, ...]
Keys = Mapping[tuple[str, ...], Sequence[str]]


class Problems(ValueError):  # noqa: N818  # carries lines through pydantic, never seen outside
    """Several lines that a validator found at once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(lines))


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The text "; did you mean 'epochs'?" where one of `known` is close to `wrong`, else an empty one."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(wrong.lower(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


def explain(detail: ErrorDetails, keys: Keys) -> list[str]:
    """One pydantic error as lines; `keys` are the known keys of each section, for suggestions."""
    kind, place, value = detail["type"], detail["loc"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "value_error" and isinstance(context["error"], Problems):
        return context["error"].lines
    if place[:1] == ("catalog",) and place[2:4] == ("columns", "file"):  # the members of the union follow in `place`
        return [f"{_dotted(place[:4])}: is neither the name of a column nor a table of one column a band"]
    key = _dotted(place)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return [f"{key}: unknown key{_instead(place, keys)}"]
    if kind in ("missing", "missing_argument"):
        return [f"{key}: missing; {EXAMPLES.get(str(place[-1]), 'add it')}"]
    if kind == "literal_error":
        return [f"{key}: {_not_known(place, str(value), str(context['expected']))}"]
    if place == ("catalog",):
        return ["catalog: is not a list of tables; write [[catalog]] in double brackets"]
    if kind in ("model_type", "dataclass_type", "dict_type"):
        header = "[[catalog]]" if place[0] == "catalog" else f"[{key}]"
        return [f"{key}: {value!r} is not a table; write {header} on a line and its keys below"]
    if kind == "value_error":
        return [f"{key}: {context['error']}"]
    return [f"{key}: {value!r} {EXPECTED.get(kind, detail['msg'])}"]


def _not_known(place: Place, value: str, expected: str) -> str:
    known = re.findall(r"'([^']*)'", expected)
    hint = did_you_mean(value, known)
    return f"{value!r} is not known{hint or '; use ' + ' or '.join(repr(name) for name in known)}"


def _instead(place: Place, keys: Keys) -> str:
    wrong = str(place[-1])
    starred = tuple("*" if number in (1, 3) else str(part) for number, part in enumerate(place[:-1]))
    known = keys[starred] if starred in keys else keys[tuple(map(str, place[:-1]))]
    hint = did_you_mean(wrong, known)
    if hint:
        return hint
    elsewhere = [section[0] for section, names in keys.items() if len(section) == 1 and wrong in names]
    return f"; it belongs in [{elsewhere[0]}]" if elsewhere else f"; known here: {', '.join(known)}"


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)
