"""Recipes: strict TOML to frozen options. Every problem is one line: which key, what value, what to do."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from domainssl.options import (
    ClassifyOptions,
    EncoderOptions,
    Kind,
    PretrainOptions,
    RankOptions,
    ReportOptions,
    StoreOptions,
)
from pipelines.recipe_limits import find_problems
from pipelines.recipe_messages import Problems, did_you_mean, explain
from pipelines.recipe_toml import NotTomlError, apply_override, parse_toml, write_toml

Use = Literal["pretrain", "classify", "rank"]


class RecipeError(ValueError):
    """A recipe that cannot be used: `problems` holds one line each, the message the first of them."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


def _not_empty(value: object) -> object:
    if value == "":  # which pathlib would take for the folder itself
        raise ValueError("is empty; give a path, or leave the key out")
    return value


def _absolute(path: Path, info: Any) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    # no resolve() of the whole: a link may have a suffix (.csv) that its target lacks
    return Path(os.path.abspath(folder.resolve() / path.expanduser()))  # noqa: PTH100


def _absolute_weights(encoder: EncoderOptions, info: Any) -> EncoderOptions:
    if not encoder.weights.endswith(".safetensors"):
        return encoder
    return dataclasses.replace(encoder, weights=str(_absolute(Path(encoder.weights), info)))


AbsolutePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@with_config(ConfigDict(extra="forbid", strict=True))
class Columns(TypedDict, total=False):
    """Which column of the table holds what; absent ones are looked for under their usual names.

    `file` may name one column a band; `psf_fwhm_px` may hold "{band}".
    """

    id: str
    file: str | dict[str, str]
    item: str
    group: str
    issuer: str
    study: str
    split: str
    ra: str
    dec: str
    redshift: str
    ebv: str
    psf_fwhm_px: str


@with_config(ConfigDict(extra="forbid", strict=True))
class CutoutSize(TypedDict, total=False):
    """The side of a cutout from a survey image: `arcsec`, or `times` the value of `column`, which is in arcsec."""

    arcsec: float
    column: str
    times: float


class MatchEntry(BaseModel):
    """A table whose `columns` are brought to the catalog's objects: by id, or by position within `radius` arcsec."""

    model_config = STRICT

    table: AbsolutePath
    columns: tuple[str, ...]
    by: Literal["id", "position"] = "position"
    radius: float = 1.0


class CatalogEntry(BaseModel):
    """One catalog: a table (or a folder to scan), where its images lie, and what they are used for.

    `table` None: the folder `images` is scanned. `file_pattern` names files below `images` by "{id}", "{band}" or any
    column. `white` is the pixel value that stands for white in pictures whose format does not say. Paths are absolute.

    With `cutout`, files are survey images from which the objects are cut by ra and dec. `object_per_hdu`: each image
    HDU of a file is an object. `missing_band`: an object without one of the bands is refused, or the band masked; a
    catalog that masks may also lack bands of another. `reproject` brings bands on different grids to one. `match`
    brings columns of other tables, labels most of all; `ebv_map` is a folder with the SFD map, for E(B-V) by position.
    `survey` names the extinction coefficients of its bands. `views`: the radiographs that are taken, by view position;
    None: what the domain takes, empty: all. With `layout`, `images` is the folder of a public collection as it ships,
    whose tables are read in place of `table` (see `catalogs.chest_xrays.collections`). `licence` is that of the images,
    in words that the model card repeats.
    """

    model_config = STRICT

    name: str
    use: tuple[Use, ...] = ("pretrain", "classify", "rank")
    table: AbsolutePath | None = None
    images: AbsolutePath | None = None
    columns: Columns = Columns()
    bands: tuple[str, ...]
    file_pattern: str | None = None
    white: float | None = None
    cutout: CutoutSize | None = None
    object_per_hdu: bool = False
    missing_band: Literal["refuse", "mask"] = "refuse"
    reproject: bool = False
    match: tuple[MatchEntry, ...] = ()
    ebv_map: AbsolutePath | None = None
    survey: str | None = None
    views: tuple[str, ...] | None = None
    layout: Literal["chexpert", "nih", "rsna", "vindr", "mimic", "mimic_negbio"] | None = None
    licence: str | None = None


class LabelEntry(BaseModel):
    """What kind of answer a label holds; `sided`: it tells left from right, so views are never mirrored.

    The label's name is its column, but for several findings a column each, and for counts of votes: `columns`. Several
    findings in one cell stand between `separator`. `yes` is the word for yes where it is not a usual one; `order` names
    ordered levels that are no numbers, from the lowest. `prevalence` is that of the population in mind, for PPV and
    NPV (of yes, or by finding); `outlier` is the error beyond which a real value's prediction counts as an outlier.
    `unknown` are cells that stand for no value: a number in any notation, a text as it is written.
    Of findings: what -1 counts as (`uncertain`; needed where there is any) and an empty cell (`blank`). `provenance`
    says how the labels came about, in words that page and model card repeat.

    With `tree` (see `catalogs.galaxies.question_trees`) the label's name is that of a question, and the columns of its
    votes, as counted or debiased (`form`), go by their published names. Votes are unknown where fewer than `min_votes`
    people answered, or where fewer than the share `min_asked` of the volunteers came to the question.
    """

    model_config = STRICT

    kind: Kind
    sided: bool = False
    columns: tuple[str, ...] = ()
    separator: str = "|"
    yes: str | None = None
    order: tuple[str, ...] = ()
    prevalence: float | dict[str, float] | None = None
    outlier: float | None = None
    unknown: tuple[float | str, ...] = ()
    tree: str | None = None
    form: Literal["raw", "debiased"] = "raw"
    min_votes: int = 0
    min_asked: float = 0.0
    uncertain: Literal["ignore", "zero", "one"] | None = None
    blank: Literal["unknown", "zero"] = "unknown"
    provenance: str | None = None


class StartEntry(BaseModel):
    """Another encoder to compare with: a .safetensors file of ours or in timm's format; `encoder` is timm's name."""

    model_config = STRICT

    file: AbsolutePath
    encoder: str | None = None


class Recipe(BaseModel):
    """Everything that decides what a run computes; where and how fast it computes is on the command line.

    `split`: the halves by a hash of the group alone, the same in every run, or "stratified" by labels and site.
    """

    model_config = STRICT

    domain: Literal["galaxies", "chest_xrays"]
    seed: int = 0
    split: Literal["hash", "stratified"] = "hash"
    catalog: tuple[CatalogEntry, ...]
    labels: dict[str, LabelEntry] = {}
    start: dict[str, StartEntry] = {}
    store: StoreOptions = StoreOptions()
    encoder: Annotated[EncoderOptions, AfterValidator(_absolute_weights)] = EncoderOptions()
    pretrain: PretrainOptions = PretrainOptions()
    classify: ClassifyOptions = ClassifyOptions()
    rank: RankOptions = RankOptions()
    report: ReportOptions = ReportOptions()

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        problems = find_problems(self.model_dump(mode="json"))
        if problems:
            raise Problems(problems)
        return self

    @property
    def sided(self) -> bool:
        """Whether a label tells left from right."""
        return any(label.sided for label in self.labels.values())

    @property
    def pretrains(self) -> bool:
        """Whether the encoder is trained at all."""
        return self.pretrain.epochs != 0 and self.pretrain.method != "none"

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of the tables that hold labels; those of question trees are known from the tables only."""
        labels = {label: entry for label, entry in self.labels.items() if entry.tree is None}
        columns = [name for label, entry in labels.items() for name in entry.columns or (label,)]
        return tuple(dict.fromkeys(columns))

    @property
    def survey(self) -> str | None:
        """The survey that all catalogs are of, None where they name several or none."""
        named = {entry.survey for entry in self.catalog}
        return named.pop() if len(named) == 1 else None

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of all catalogs, those of the first in its order, then what others add."""
        return tuple(dict.fromkeys(band for entry in self.catalog for band in entry.bands))


OPTIONS: dict[str, type] = {
    "store": StoreOptions,
    "encoder": EncoderOptions,
    "pretrain": PretrainOptions,
    "classify": ClassifyOptions,
    "rank": RankOptions,
    "report": ReportOptions,
}

# Which keys may stand where; "*" stands for a number of a catalog or the name of a label.
KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): tuple(Recipe.model_fields),
    ("catalog", "*"): tuple(CatalogEntry.model_fields),
    ("catalog", "*", "columns"): tuple(Columns.__annotations__),
    ("catalog", "*", "cutout"): tuple(CutoutSize.__annotations__),
    ("catalog", "*", "match", "*"): tuple(MatchEntry.model_fields),
    ("labels", "*"): tuple(LabelEntry.model_fields),
    ("start", "*"): tuple(StartEntry.model_fields),
    **{(name,): tuple(field.name for field in dataclasses.fields(options)) for name, options in OPTIONS.items()},
    **{
        ("pretrain", field.name): tuple(part.name for part in dataclasses.fields(field.default))
        for field in dataclasses.fields(PretrainOptions)
        if dataclasses.is_dataclass(field.default)
    },
}


def load_recipe(path: Path, overrides: Sequence[str] = (), without: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe; relative paths in it are relative to its folder.

    `overrides` are "a.b=value" as after --set: the value is TOML, or else text; `catalog.0.images` addresses the first
    catalog. Keys of `without` ("a.b") are taken out of the file first. Raises RecipeError, also where the recipe names
    a table, a folder or weights that are not there.
    """
    recipe = parse_recipe(_read(path), path.parent, overrides, path.name, without)
    check_paths(recipe)
    return recipe


def parse_recipe(
    text: str,
    folder: Path = Path(),
    overrides: Sequence[str] = (),
    source: str = "recipe",
    without: Sequence[str] = (),
) -> Recipe:
    """A recipe from its text, without looking whether its files are there; `source` names it in messages."""
    try:
        data = parse_toml(text)
    except NotTomlError as error:
        raise RecipeError(f"{source}: {error}") from None
    for section, _, name in (key.partition(".") for key in without):
        if isinstance(data.get(section), dict):
            data[section].pop(name, None)
    for override in overrides:
        try:
            apply_override(data, override)
        except ValueError as error:
            raise RecipeError(f"--set {override}: {error}") from None
    try:
        # through JSON, since pydantic's strict mode takes lists for tuples and text for paths only from there
        return Recipe.model_validate_json(json.dumps(data, default=_not_json), context={"folder": folder})
    except ValidationError as error:
        problems = [line for detail in error.errors() for line in explain(detail, KEYS)]
        raise RecipeError(*dict.fromkeys(problems)) from None


def check_paths(recipe: Recipe) -> None:
    """Raises RecipeError for tables, folders and weights that the recipe names and that are not there."""
    problems: list[tuple[str, str, Path]] = []
    for number, entry in enumerate(recipe.catalog):
        if entry.table is not None and not entry.table.exists():
            problems.append((f"catalog.{number}.table", "no file or folder", entry.table))
        if entry.images is not None and not _is_source(entry.images, recipe.domain):
            problems.append((f"catalog.{number}.images", "no folder", entry.images))
        problems += [
            (f"catalog.{number}.match.{place}.table", "no file", match.table)
            for place, match in enumerate(entry.match)
            if not match.table.exists()
        ]
    weights = Path(recipe.encoder.weights)
    if weights.suffix == ".safetensors" and not weights.is_file():
        problems.append(("encoder.weights", "no file", weights))
    problems += [
        (f"start.{name}.file", "no file", entry.file)
        for name, entry in recipe.start.items()
        if not entry.file.is_file()
    ]
    if problems:
        from pipelines.domains import DOMAINS  # here: a recipe without problems need not wait for the readers

        private = DOMAINS[recipe.domain].private
        raise RecipeError(*(_missing(*problem, private=private) for problem in problems))


def _is_source(images: Path, domain: str) -> bool:
    if images.is_dir():
        return True
    from catalogs.scanning import is_source
    from pipelines.domains import DOMAINS  # here: a recipe of a folder need not wait for the readers

    return is_source(images, DOMAINS[domain].suffixes)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML with absolute paths and every default written out; parsing it gives an equal recipe."""
    return dump_fields(recipe.model_dump(mode="json"))


def dump_fields(fields: Mapping[str, Any]) -> str:
    """The fields of a recipe as TOML; without those that are None and the default tables of methods it does not use."""
    return write_toml(_without_none({**fields, "pretrain": used_options(fields["pretrain"])}))


def used_options(pretrain: Mapping[str, Any]) -> dict[str, Any]:
    """Pretraining's fields without the tables of other methods that are as by default."""
    usual, given = (json.loads(json.dumps(fields)) for fields in (dataclasses.asdict(PretrainOptions()), pretrain))
    return {
        key: value
        for key, value in pretrain.items()
        if not isinstance(value, Mapping) or key == pretrain["method"] or given[key] != usual[key]
    }


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list) else value


def _read(path: Path) -> str:
    remedy = "`domainssl recipe galaxies > recipe.toml` writes one to start from"
    try:
        return path.read_bytes().decode("utf-8-sig")
    except IsADirectoryError:
        inside = path / "recipe.toml"
        hint = f"did you mean {inside}?" if inside.is_file() else remedy
        raise RecipeError(f"no recipe at {path}: it is a folder; {hint}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path.name}: byte {error.start}: not UTF-8; save it as UTF-8 text") from None
    except OSError as error:
        raise RecipeError(f"no recipe at {path}: {error.strerror}; {remedy}") from None


def _missing(key: str, what: str, path: Path, *, private: bool) -> str:
    if private:
        return (
            f"{key}: {what} there; give it absolute, or relative to the folder of the recipe (paths are withheld in "
            "this domain; a recipe.toml inside a run holds source ids in their place)"
        )
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, siblings)
    return f"{key}: {what} at {path}{hint or '; give it absolute, or relative to the folder of the recipe'}"


def _not_json(value: object) -> object:
    return {"date or time": str(value)}  # no key takes one: refused there as a table in the wrong place
