"""Sweeps: one recipe and lists of values for some of its keys, to one named variant a combination."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, final

from pipelines.domains import DOMAINS
from pipelines.privacy import pseudonyms
from pipelines.recipe import Recipe, RecipeError, load_recipe
from pipelines.recipe_toml import apply_override
from pipelines.run_folder import RunFolder
from pipelines.steps import DEPENDS

STEPS = ("prepare", "pretrain", "embed", "classify")  # what is done of each variant
LONGEST = 120  # bytes of a name, well below what file systems take
_OPENING, _CLOSING = "[{", "]}"


@final
@dataclass(frozen=True)
class Sweep:
    """A key of the recipe and its values, each as --set takes it."""

    key: str
    values: tuple[str, ...]


@final
@dataclass(frozen=True)
class Variant:
    """One combination: `name` is fit for a file, `settings` are swept key and value in words.

    `base` names the folder of its images: variants that prepare alike share one.
    """

    name: str
    settings: Mapping[str, str]
    recipe: Recipe
    base: str


def parse_sweep(text: str) -> Sweep:
    """A sweep from "a.b=v1,v2": values are TOML, or else text, parted by commas outside of brackets and quotes.

    RecipeError for what is not of this form, for no value, and for a value that occurs twice.
    """
    key, equals, listed = text.partition("=")
    key = key.strip()
    try:
        if not equals:
            raise ValueError("is not of the form key=v1,v2; write for example pretrain.temperature=0.1,0.2,0.5")
        values = _parted(listed)
        if "" in values:
            raise ValueError('has an empty value; give values parted by commas, such as 0.1,0.2 or [],["blur"]')
        apply_override({}, f"{key}=0")
        meant = [_meaning(value) for value in values]
        twice = next((value for number, value in enumerate(values) if meant[number] in meant[:number]), None)
        if twice is not None:
            raise ValueError(f"names {twice} twice; give each value once")
    except ValueError as error:
        raise RecipeError(f"--sweep {text}: {error}") from None
    return Sweep(key, values)


def variants(path: Path, overrides: Sequence[str], sweeps: Sequence[Sweep], out: Path) -> tuple[Variant, ...]:
    """The recipes of all combinations, in the order of the values, checked; nothing is read but the recipe.

    Raises RecipeError, with one line a problem that names the sweep: for values that the recipe does not take, for
    keys on which no step of an evaluation depends, and for combinations that are the same recipe.
    """
    base = load_recipe(path, overrides)
    _check_keys(sweeps)
    recipes: list[Recipe] = []
    problems: dict[str, list[str]] = {}
    combinations = list(product(*(sweep.values for sweep in sweeps)))
    named = [_shown(base, sweeps, values, out) for values in combinations]
    names = _names(named)
    for name, values in zip(names, combinations, strict=True):
        swept = [f"{sweep.key}={value}" for sweep, value in zip(sweeps, values, strict=True)]
        try:
            recipe = load_recipe(path, [*overrides, *swept])
            _check_recipe(recipe)
            recipes.append(recipe)
        except RecipeError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(name)
    if problems:
        raise RecipeError(*(_problem(text, where, sweeps, len(names)) for text, where in problems.items()))
    for number, recipe in enumerate(recipes):
        if recipe in recipes[:number]:
            same = names[recipes.index(recipe)]
            raise RecipeError(f"--sweep: {same} and {names[number]} are the same recipe; give each value once")
    prepared = [
        {key: shown for key, shown in settings.items() if _section(key) in DEPENDS["prepare"].recipe}
        for settings in named
    ]
    distinct = [dict(part) for part in dict.fromkeys(tuple(part.items()) for part in prepared)]
    folders = ["base" if not part else f"base-{name}" for part, name in zip(distinct, _names(distinct), strict=True)]
    return tuple(
        Variant(name, settings, recipe, folders[distinct.index(part)])
        for name, settings, recipe, part in zip(names, named, recipes, prepared, strict=True)
    )


def _parted(text: str) -> tuple[str, ...]:
    """The parts between commas that stand outside of brackets and quotes."""
    parts, depth, quote, escaped = [""], 0, "", False
    for character in text:
        if quote:
            if character == quote and not escaped:
                quote = ""
            escaped = character == "\\" and quote == '"' and not escaped
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        if character == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if quote or depth != 0:
        raise ValueError(f"has a {'quote' if quote else 'bracket'} without its counterpart; close it")
    return tuple(part.strip() for part in parts)


def _meaning(value: str) -> Any:
    holder: dict[str, Any] = {}
    apply_override(holder, f"value={value}")
    return holder["value"]


def _section(key: str) -> str:
    """The first part of a dotted key."""
    return key.partition(".")[0].strip().strip("\"'")


def _check_keys(sweeps: Sequence[Sweep]) -> None:
    used = {part.partition(".")[0] for step in STEPS for part in DEPENDS[step].recipe}
    for number, sweep in enumerate(sweeps):
        section = _section(sweep.key)
        if sweep.key in [earlier.key for earlier in sweeps[:number]]:
            raise RecipeError(f"--sweep {sweep.key}: is given twice; give all its values at once")
        if section == "domain":
            raise RecipeError("--sweep domain: domains are not compared; sweep keys of one domain's recipe")
        if section in Recipe.model_fields and section not in used:
            raise RecipeError(f"--sweep {sweep.key}: no step of an evaluation depends on it; sweep another key")


def _check_recipe(recipe: Recipe) -> None:
    if not recipe.labels:
        raise RecipeError("labels: there are none, so nothing could be measured; add a table [labels.NAME]")
    if "continued" not in recipe.classify.starts:
        raise RecipeError(f"classify.starts: {list(recipe.classify.starts)} lacks 'continued', which a sweep compares")


def _problem(text: str, where: Sequence[str], sweeps: Sequence[Sweep], count: int) -> str:
    text = text.removeprefix("--set ")  # as which the values were tried
    if len(where) == count:
        swept = any(_section(text) == _section(sweep.key) for sweep in sweeps)
        return f"--sweep {', '.join(sweep.key for sweep in sweeps)}: {text}" if swept else text
    more = f" (and {len(where) - 1} more)" if len(where) > 1 else ""
    return f"--sweep {where[0]}{more}: {text}"


def _shown(base: Recipe, sweeps: Sequence[Sweep], values: Sequence[str], out: Path) -> dict[str, str]:
    """Swept key and value in words; in a private domain, a pseudonym for what names a file or a column of it."""
    shown = {}
    for sweep, value in zip(sweeps, values, strict=True):
        meaning = _meaning(value)
        if DOMAINS[base.domain].private and _names_files(sweep.key, meaning):
            shown[sweep.key] = pseudonyms(RunFolder(out)).of("source", value)
        else:
            shown[sweep.key] = _words(meaning)
    return shown


def _names_files(key: str, meaning: object) -> bool:
    if _section(key) in ("catalog", "start"):
        return not isinstance(meaning, int | float)
    return isinstance(meaning, str) and ("/" in meaning or meaning.endswith(".safetensors"))


def _words(meaning: object) -> str:
    if isinstance(meaning, bool):
        return str(meaning).lower()
    if isinstance(meaning, list):
        return "+".join(map(_words, meaning)) or "nothing"
    if isinstance(meaning, dict):
        return "+".join(f"{key}={_words(part)}" for key, part in meaning.items()) or "nothing"
    return str(meaning)


def _names(named: Sequence[Mapping[str, str]]) -> list[str]:
    """A file name for each combination: the last parts of the keys where these differ, and the values."""
    keys = list(named[0]) if named else []
    leaves = [key.rpartition(".")[2] for key in keys]
    short = {key: leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)}
    names = [
        ",".join(f"{_safe(short[key])}={_safe(_tail(value))}" for key, value in settings.items()) for settings in named
    ]
    exact = [str(list(settings.items())) for settings in named]
    return [
        f"{_cut(name)}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        if names.count(name) > 1 or len(name.encode()) > LONGEST
        else name
        for name, whole in zip(names, exact, strict=True)
    ]


def _tail(value: str) -> str:
    """The last two parts of a path: a folder that tells one run from another, and the file."""
    return "_".join(Path(value).parts[-2:]) if value.startswith(("/", ".", "~")) and "/" in value else value


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=-]", "_", text).strip(".") or "_"


def _cut(name: str) -> str:
    return name.encode()[: LONGEST - 10].decode(errors="ignore")
