"""TOML as recipes use it: reading with one-line errors, --set overrides, writing."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any


class NotTomlError(ValueError):
    """Text that is not TOML; the message says where and why."""


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; raises NotTomlError such as "line 3: not TOML: Expected '=' after a key"."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        parts = re.fullmatch(r"(.*?)(?: \(at (?:(line \d+).*|(end of document))\))?", str(error), re.DOTALL)
        assert parts is not None
        raise NotTomlError(f"{parts[2] or parts[3] or 'somewhere'}: not TOML: {parts[1]}") from None


def apply_override(data: dict[str, Any], override: str) -> None:
    """Changes one value of `data` in place: "a.b=value" with a TOML value, or else text; numbers address lists.

    Tables that are absent are made. Raises ValueError for what is not key=value and for paths that lead nowhere.
    """
    key, equals, text = override.partition("=")
    path = _key_parts(key) if equals else []
    if not path:
        raise ValueError("is not of the form key=value; write for example pretrain.epochs=5")
    value = _toml_or_text(text.strip())
    here: Any = data
    for depth, part in enumerate(path):
        where = ".".join(path[:depth])
        if isinstance(here, list):
            if not part.isdecimal() or int(part) >= len(here):
                raise ValueError(f"{where} has no {part!r}; number its {len(here)} entries from 0, as in {where}.0")
            place: Any = int(part)
        elif isinstance(here, dict):
            place = part
        else:
            raise ValueError(f"{where} is {here!r} and has no {part!r}; set {where} itself")
        if depth == len(path) - 1:
            here[place] = value
        else:
            here = here[place] if isinstance(here, list) else here.setdefault(place, {})


def write_toml(data: Mapping[str, Any]) -> str:
    """A mapping as TOML: scalars, then lists of tables, then tables; a table of tables gets dotted headers.

    Tables deeper than that, and in lists of tables, are written inline. Values: text, numbers, truth values, lists.
    """
    lines = [f"{_key(key)} = {_value(value)}" for key, value in data.items() if not isinstance(value, list | dict)]
    for key, entries in data.items():
        if isinstance(entries, list):
            for entry in entries:
                lines += ["", f"[[{_key(key)}]]", *_pairs(entry)]
    for key, section in data.items():
        if isinstance(section, dict) and section and all(isinstance(value, dict) for value in section.values()):
            for name, entry in section.items():
                lines += ["", f"[{_key(key)}.{_key(name)}]", *_pairs(entry)]
        elif isinstance(section, dict):
            lines += ["", f"[{_key(key)}]", *_pairs(section)]
    return "\n".join(lines) + "\n"


def _key_parts(key: str) -> list[str]:
    try:
        # the key is TOML too, so that a name with a dot can be quoted: labels."T.type".kind
        nested: Any = tomllib.loads(f"{key} = 0") if "\n" not in key else {}
    except tomllib.TOMLDecodeError:
        nested = {}
    parts = []
    while isinstance(nested, dict) and nested:
        ((part, nested),) = nested.items()
        parts.append(part)
    return parts


def _toml_or_text(text: str) -> Any:
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
        json.dumps(value)  # dates fail here and stay text: a file may be named after one
    except (tomllib.TOMLDecodeError, TypeError, ValueError):
        return text
    return value


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }" if value else "{}"
    # JSON's scalars are TOML's, but for one control character that JSON leaves as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
