"""Recipes: what is refused, how it is said, and that what was read can be written and read again."""

import dataclasses
from importlib.resources import files
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from domainssl.options import ClassifyOptions, PretrainOptions, StoreOptions
from pipelines.recipe import (
    KEYS,
    CatalogEntry,
    LabelEntry,
    Recipe,
    RecipeError,
    check_paths,
    dump_recipe,
    load_recipe,
    parse_recipe,
)

MINIMAL = """
domain = "galaxies"

[[catalog]]
name = "survey"
table = "labels.csv"
images = "images"
columns = { id = "objid", file = "file" }
bands = ["g", "r", "z"]
"""

MATCH = 'match = [{ table = "zoo.csv", columns = ["smooth"] }]'

SECTION_OF: dict[tuple[str, ...], str] = {
    (): "",
    ("catalog", "*"): "catalog.0.",
    ("catalog", "*", "columns"): "catalog.0.columns.",
    ("catalog", "*", "cutout"): "catalog.0.cutout.",
    ("catalog", "*", "match", "*"): "catalog.0.match.0.",
    ("labels", "*"): "labels.kind_of_galaxy.",
    ("start", "*"): "start.published.",
    **{(name,): f"{name}." for name in ("store", "encoder", "pretrain", "classify", "rank", "report")},
    **{
        ("pretrain", name): f"pretrain.{name}."
        for kind, name in (key for key in KEYS if len(key) == 2)
        if kind == "pretrain"
    },
}


def problems(*overrides: str, text: str = MINIMAL) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, Path("/data"), overrides, "recipe.toml")
    for problem in caught.value.problems:
        assert "\n" not in problem
    return caught.value.problems


def test_sections_of_this_test_are_those_of_the_recipe() -> None:
    assert set(SECTION_OF) == set(KEYS)


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, keys in KEYS.items() for key in keys])
@pytest.mark.parametrize("damage", ["doubled", "capital"])
def test_a_misspelt_key_is_unknown_and_gets_the_right_suggestion(
    section: tuple[str, ...], key: str, damage: str
) -> None:
    wrong = key + key[-1] if damage == "doubled" else key.capitalize()
    place = f"{SECTION_OF[section]}{wrong}"
    assert f"{place}: unknown key; did you mean {key!r}?" in problems(f"{place}=1", text=MINIMAL + MATCH)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain.epoch=3"], "pretrain.epoch: unknown key; did you mean 'epochs'?"),
        (["store.epochs=3"], "store.epochs: unknown key; it belongs in [pretrain]"),
        (["rank.xyz=3"], "rank.xyz: unknown key; known here: detectors, neighbours, trees"),
        (["seed=x"], "seed: 'x' is not a whole number"),
        (["seed=-1"], "seed: -1 is too small; give 0 or more"),
        (["seed=9223372036854775808"], "seed: 9223372036854775808 is too large; give less than 9223372036854775808"),
        (["pretrain.epochs=2.0"], "pretrain.epochs: 2.0 is not a whole number"),
        (["pretrain.epochs=true"], "pretrain.epochs: True is not a whole number"),
        (["pretrain.temperature=nan"], "pretrain.temperature: nan is not a finite number"),
        (["pretrain.temperature='hot'"], "pretrain.temperature: 'hot' is not a number"),
        (["pretrain.frozen_batchnorm=1"], "pretrain.frozen_batchnorm: 1 is neither true nor false"),
        (["pretrain.method=simclrr"], "pretrain.method: 'simclrr' is not known; did you mean 'simclr'?"),
        (["pretrain.method=wavelets"], "pretrain.method: 'wavelets' is not known; `domainssl methods` lists them"),
        (["pretrain.mae.mask_ratio=1.0"], "pretrain.mae.mask_ratio: 1.0 is out of range; give 0.01 to 0.99"),
        (["pretrain.moco.queue=0"], "pretrain.moco.queue: 0 is out of range; give 1 or more"),
        (
            ["pretrain.method=split_brain", 'catalog.0.bands=["g"]'],
            "pretrain.method: split_brain predicts bands from other bands, the images have 1; "
            "`domainssl methods` lists others",
        ),
        (
            ["pretrain.method=mae"],
            "pretrain.method: mae needs a vision transformer, tf_efficientnet_lite0 is none; "
            "give encoder.name = 'vit_tiny_patch16_224'",
        ),
        (
            ["pretrain.method=supervised"],
            "pretrain.supervised.column: supervised needs one; name a column of the catalog to learn",
        ),
        (["pretrain.images=1"], "pretrain.images: 1 is too small; give 2 or more"),
        (
            ["pretrain.images=100", "pretrain.epochs=3"],
            "pretrain.images: pretrain.epochs says how long as well; leave one of the two out",
        ),
        (["pretrain.mae.mask_ratoi=0.5"], "pretrain.mae.mask_ratoi: unknown key; did you mean 'mask_ratio'?"),
        (["pretrain.batch_size=1"], "pretrain.batch_size: 1 is too small; give 2 or more"),
        (["pretrain.encoder_rate=0"], "pretrain.encoder_rate: 0.0 is too small; give more than 0"),
        (["pretrain.momentum=1"], "pretrain.momentum: 1.0 is too large; give less than 1"),
        (["pretrain.teacher_momentum=1"], "pretrain.teacher_momentum: 1.0 is too large; give less than 1"),
        (["pretrain.teacher_momentum=-1"], "pretrain.teacher_momentum: -1.0 is too small; give 0 or more"),
        (["store.size=31"], "store.size: 31 is too small; give 32 or more"),
        (["store.crop='all'"], "store.crop: 'all' is not a whole number"),
        (["store=3"], "store: 3 is not a table; write [store] on a line and its keys below"),
        (["encoder.size=31"], "encoder.size: 31 is too small; give 32 or more"),
        (
            ["encoder.size=257"],
            "encoder.size: 257 is more than twice store.size (128) and would show blown-up pixels; "
            "give 256 or less, or a larger store.size",
        ),
        (["encoder.weights=imagnet"], "encoder.weights: 'imagnet' is not known; did you mean 'imagenet'?"),
        (
            ["encoder.weights=mine.pth"],
            "encoder.weights: 'mine.pth' is not known; give 'imagenet', 'none' or the path of a .safetensors file",
        ),
        (
            ["classify.labels_per_class=[5, 5]"],
            "classify.labels_per_class: [5, 5] is out of order; give numbers from 1 up, each larger",
        ),
        (
            ["classify.labels_per_class=[0]"],
            "classify.labels_per_class: [0] is out of order; give numbers from 1 up, each larger",
        ),
        (
            ["classify.labels_per_class=[]"],
            "classify.labels_per_class: [] is out of order; give numbers from 1 up, each larger",
        ),
        (["classify.labels_per_class=5"], "classify.labels_per_class: 5 is not a list; write it in [ ]"),
        (
            ["classify.starts=['imagnet']"],
            "classify.starts: 'imagnet' is not known; did you mean 'imagenet'?",
        ),
        (
            ["classify.features=['stages']"],
            "classify.features: ['stages'] should begin with 'last', by which all are compared",
        ),
        (
            ["classify.primary_labels=7"],
            "classify.primary_labels: 7 is not in labels_per_class; give one of [5, 10, 20, 25, 50, 100]",
        ),
        (
            ["classify.unit=study"],
            "classify.unit: 'study' needs columns.study in every catalog; name the column of study ids",
        ),
        (
            ["labels.x.kind=real", "classify.heads=['linear']"],
            "classify.heads: 'linear' is no head of these labels; there are knn, ridge",
        ),
        (
            ["labels.x.kind=classes", "labels.x.prevalence=0.1"],
            "labels.x.prevalence: is for yes_no and multilabel, not 'classes'; leave it out",
        ),
        (["labels.x.kind=votes"], "labels.x.columns: votes need two columns or more; name one an answer"),
        (
            ["start.random.file=x.safetensors"],
            "start.random: is a start by itself; take another name",
        ),
        (["classify.draws=0"], "classify.draws: 0 is too small; give 1 or more"),
        (["classify.subgroups=['a', 'a']"], "classify.subgroups: ['a', 'a'] should name columns, and none twice"),
        (
            ["labels.x.kind=classes", "classify.subgroups=['x']"],
            "classify.subgroups: 'x' holds a label, which its own score cannot be split by; name another column",
        ),
        (["classify.metadata=['a', 'a']"], "classify.metadata: ['a', 'a'] should name columns, and none twice"),
        (
            ["labels.x.kind=classes", "classify.metadata=['x']"],
            "classify.metadata: 'x' holds a label, which would tell itself; name columns that are known before it",
        ),
        (
            ["labels.x.kind=classes", "classify.transfer=x"],
            "classify.transfer: 'x' holds a label, which its own score cannot be split by; name another column",
        ),
        (["rank.detectors=[]"], "rank.detectors: [] should name at least one, and none twice"),
        (["domain=galaxy"], "domain: 'galaxy' is not known; did you mean 'galaxies'?"),
        (["labels.x.kind=reel"], "labels.x.kind: 'reel' is not known; did you mean 'real'?"),
        (
            ["labels.x={}"],
            "labels.x.kind: missing; write kind = 'classes', 'yes_no', 'multilabel', 'ordered', 'real' or 'votes'",
        ),
        (["labels.x=3"], "labels.x: 3 is not a table; write [labels.x] on a line and its keys below"),
        (["catalog=[]"], "catalog: there is none; write a [[catalog]] with name, table, images and bands"),
        (["catalog={}"], "catalog: is not a list of tables; write [[catalog]] in double brackets"),
        (["catalog.0.bands=[]"], "catalog.0.bands: [] should name at least one band, and none twice"),
        (["catalog.0.bands=['g','g']"], "catalog.0.bands: ['g', 'g'] should name at least one band, and none twice"),
        (["catalog.0.use=[]"], "catalog.0.use: [] should name at least one, and none twice"),
        (["catalog.0.name=''"], "catalog.0.name: is empty; give the catalog a name"),
        (["catalog.0.images="], "catalog.0.images: is empty; give a path, or leave the key out"),
        (["catalog.0.table=3"], "catalog.0.table: 3 is not text; put it in quotes"),
        (["catalog.0.white=0"], "catalog.0.white: 0.0 is too small; give the pixel value of white, such as 4095"),
        (
            ["catalog.0.columns.file={g='file_g'}"],
            "catalog.0.columns.file: {'g': 'file_g'} does not fit the bands ['g', 'r', 'z']; name one column a band",
        ),
        (
            ["catalog.0.columns.file=3"],
            "catalog.0.columns.file: is neither the name of a column nor a table of one column a band",
        ),
        (
            ["labels.x.kind=classes", "catalog.0.use=['pretrain', 'rank']"],
            "labels: ['x'] are for no catalog; add 'classify' to the use of one, or take them out",
        ),
        (
            ["catalog.0.use=['rank']"],
            "catalog: none has 'pretrain' in use; add it to one, or set pretrain.epochs = 0",
        ),
        (["epochs"], "--set epochs: is not of the form key=value; write for example pretrain.epochs=5"),
        (["=5"], "--set =5: is not of the form key=value; write for example pretrain.epochs=5"),
        (["a b=5"], "--set a b=5: is not of the form key=value; write for example pretrain.epochs=5"),
        (["domain.x=1"], "--set domain.x=1: domain is 'galaxies' and has no 'x'; set domain itself"),
        (
            ["catalog.1.name=x"],
            "--set catalog.1.name=x: catalog has no '1'; number its 1 entries from 0, as in catalog.0",
        ),
    ],
)
def test_what_is_wrong_is_said_with_key_value_and_remedy(overrides: list[str], message: str) -> None:
    assert problems(*overrides)[0] == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('domain = "galaxies"\n\nbands [', "recipe.toml: line 3: not TOML: Expected '=' after a key"),
        ("domain = [", "recipe.toml: end of document: not TOML: Invalid value"),
        ("seed = 1\nseed = 2\n", "recipe.toml: line 2: not TOML: Cannot overwrite a value"),
    ],
)
def test_text_that_is_no_toml_is_said_with_its_line(text: str, message: str) -> None:
    (problem,) = problems(text=text)
    assert problem.startswith(message)


def test_several_problems_are_all_found_and_the_message_counts_them() -> None:
    found = problems("pretrain.epoch=3", "store.sise=3", "seed='x'")
    assert set(found) == {
        "pretrain.epoch: unknown key; did you mean 'epochs'?",
        "store.sise: unknown key; did you mean 'size'?",
        "seed: 'x' is not a whole number",
    }
    assert str(RecipeError(*found)) == f"{found[0]} (and 2 more)"


def test_an_empty_recipe_names_what_is_missing() -> None:
    assert [problem.split(":")[0] for problem in problems(text="")] == ["domain", "catalog"]


def test_catalogs_of_one_recipe_agree_and_have_their_own_names() -> None:
    text = MINIMAL + '[[catalog]]\nname = "survey"\nimages = "more"\nbands = ["r", "g"]\n'
    assert problems(text=text) == (
        "catalog.1.name: 'survey' is taken by an earlier catalog; give each its own",
        "catalog.1.bands: ['r', 'g'] lacks z of another catalog; give all the same bands, "
        "or missing_band = 'mask' in 'survey'",
    )
    assert problems(text='domain = "galaxies"\n[[catalog]]\nname = "a"\nbands = ["g"]\n') == (
        "catalog.0.table: missing; give a table, or the folder to scan as images",
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "cutout = { arcsec = 20.0, times = 2.0 }",
            "catalog.0.cutout: {'arcsec': 20.0, 'times': 2.0} should be { arcsec = 20.0 }, "
            'or { column = "radius", times = 4.0 }',
        ),
        ("cutout = { arcsec = 0.0 }", "catalog.0.cutout: 0.0 is too small; give more than 0"),
        (
            "cutout = { arcsec = 9.0 }\nobject_per_hdu = true",
            "catalog.0.object_per_hdu: cutouts are cut by position from whole images; leave one of the two out",
        ),
        (
            'match = [{ table = "zoo.csv", columns = ["a", "a"] }]',
            "catalog.0.match.0.columns: ['a', 'a'] should name at least one, and none twice",
        ),
        (
            'match = [{ table = "zoo.csv", columns = ["a"], radius = 0.0 }]',
            "catalog.0.match.0.radius: 0.0 is too small; give arcsec above 0",
        ),
        ('missing_band = "zero"', "catalog.0.missing_band: 'zero' is not known; use 'refuse' or 'mask'"),
        ('survey = "lst"', "catalog.0.survey: 'lst' is not known; did you mean 'lsst'?"),
    ],
)
def test_survey_images_and_matches_are_checked(line: str, message: str) -> None:
    assert problems(text=f"{MINIMAL}{line}\n") == (message,)


def test_crop_and_arcsec_say_the_same() -> None:
    assert problems("store.crop=64", "store.arcsec=20.0") == (
        "store.arcsec: 20.0 and store.crop (64) both say how much is cut; leave one of the two out",
    )


def test_catalogs_may_differ_in_bands_where_these_are_masked() -> None:
    text = MINIMAL + 'missing_band = "mask"\n[[catalog]]\nname = "b"\nimages = "more"\n'
    recipe = parse_recipe(text + 'bands = ["z", "y"]\nmissing_band = "mask"\nsurvey = "lsst"\n', Path("/data"))
    assert recipe.bands == ("g", "r", "z", "y")
    assert recipe.survey is None, "the catalogs' surveys differ"
    assert parse_recipe(MINIMAL + 'survey = "Rubin"\n', Path("/data")).survey == "Rubin"


def test_overrides_are_toml_or_text_and_make_absent_tables() -> None:
    recipe = parse_recipe(
        MINIMAL,
        Path("/data"),
        [
            "pretrain.epochs=2",
            "pretrain.temperature = 1",
            "encoder.weights=none",
            "catalog.0.images=other pictures",
            "catalog.0.table=2024-05-01",
            "classify.labels_per_class=[1, 2]",
            'labels."T.type".kind=yes_no',
            "catalog.0.columns.file={g='a', r='b', z='c'}",
            "rank={neighbours=3}",
        ],
    )
    assert recipe.pretrain.epochs == 2
    assert recipe.pretrain.temperature == 1.0
    assert recipe.encoder.weights == "none"
    assert recipe.catalog[0].images == Path("/data/other pictures")
    assert recipe.catalog[0].table == Path("/data/2024-05-01")
    assert recipe.classify.labels_per_class == (1, 2)
    assert recipe.labels["T.type"].kind == "yes_no"
    assert recipe.catalog[0].columns["file"] == {"g": "a", "r": "b", "z": "c"}
    assert recipe.rank.neighbours == 3
    assert recipe.store == StoreOptions()


def test_a_recipe_cannot_be_changed() -> None:
    recipe = parse_recipe(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.pretrain.epochs = 3  # type: ignore[misc]


def test_paths_are_relative_to_the_recipe_and_links_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/content").write_text("objid\n")
    (tmp_path / "real/images").mkdir()
    (tmp_path / "real/w.safetensors").touch()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/labels.csv").symlink_to(tmp_path / "real/content")
    (tmp_path / "recipes/recipe.toml").write_text(MINIMAL)
    recipe = load_recipe(
        tmp_path / "recipes/recipe.toml",
        ["catalog.0.images=../real/images", "encoder.weights=../real/w.safetensors"],
    )
    assert recipe.catalog[0].table == (tmp_path / "recipes").resolve() / "labels.csv"
    assert recipe.catalog[0].images == (tmp_path / "real").resolve() / "images"
    assert Path(recipe.encoder.weights) == (tmp_path / "real").resolve() / "w.safetensors"


def test_what_the_recipe_names_and_is_not_there_is_found_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(MINIMAL)
    (tmp_path / "label.csv").touch()
    (tmp_path / "images").touch()  # a file, not a folder
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.toml", ["encoder.weights=w.safetensors"])
    table, images, weights = caught.value.problems
    assert table == f"catalog.0.table: no file or folder at {tmp_path}/labels.csv; did you mean 'label.csv'?"
    assert images.startswith(f"catalog.0.images: no folder at {tmp_path}/images")
    assert weights.startswith(f"encoder.weights: no file at {tmp_path}/w.safetensors; give it absolute, or relative")


def test_a_recipe_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    remedy = "`domainssl recipe galaxies > recipe.toml` writes one to start from"
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "none.toml")
    assert str(caught.value) == f"no recipe at {tmp_path / 'none.toml'}: No such file or directory; {remedy}"
    with pytest.raises(RecipeError, match="it is a folder"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"did you mean .*recipe\.toml\?"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"recipe\.toml: byte 0: not UTF-8"):
        load_recipe(tmp_path / "recipe.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").touch()
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_recipe(tmp_path / "recipe.toml").bands == ("g", "r", "z")


@pytest.mark.parametrize("name", ["galaxies", "chest_xrays"])
def test_packaged_recipes_are_valid_also_with_every_commented_key_switched_on(name: str) -> None:
    text = files("pipelines").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert parse_recipe(text, source=name).domain == name
    switched_on = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    header, rest = switched_on[:7], switched_on[7:]
    assert all(line.startswith(("#", " ")) or not line for line in header[:6])
    everything = parse_recipe("\n".join([*header, *rest]), source=name)
    assert "[" not in everything.catalog[0].name
    assert everything.catalog[0].file_pattern is not None


names = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
rates = st.floats(1e-12, 1e6)


@st.composite
def recipe_fields(draw: st.DrawFn) -> dict[str, Any]:
    bands = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    file = st.one_of(names, st.fixed_dictionaries(dict.fromkeys(bands, names)))
    columns = draw(st.fixed_dictionaries({}, optional={"id": names, "file": file, "group": names, "ra": names}))
    paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(
        lambda text: Path("/a", text)
    )
    return {
        "domain": draw(st.sampled_from(["galaxies", "chest_xrays"])),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "catalog": [
            {
                "name": name,
                "table": draw(paths),
                "images": draw(st.none() | paths),
                "columns": columns,
                "bands": bands,
                "file_pattern": draw(st.none() | names),
                "white": draw(st.none() | rates),
            }
            for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
        ],
        "labels": draw(st.lists(names, max_size=3)),
        "store": {"size": draw(st.integers(96, 4096)), "crop": draw(st.none() | st.integers(8, 4096))},
        "pretrain": {"epochs": draw(st.integers(0, 500)), "temperature": draw(rates), "encoder_rate": draw(rates)},
        "classify": {
            "labels_per_class": tuple(sorted(draw(st.sets(st.integers(1, 10**6), min_size=1)))),
            "transductive": draw(st.booleans()),
        },
    }


@settings(max_examples=60, deadline=None)
@given(recipe_fields())
def test_a_written_recipe_read_from_elsewhere_is_equal(fields: dict[str, Any]) -> None:
    recipe = Recipe(
        domain=fields["domain"],
        seed=fields["seed"],
        catalog=tuple(CatalogEntry(**entry) for entry in fields["catalog"]),
        labels={name: LabelEntry(kind="classes") for name in fields["labels"]},
        store=StoreOptions(**fields["store"]),
        pretrain=PretrainOptions(**fields["pretrain"]),
        classify=ClassifyOptions(**fields["classify"]),
    )
    assert parse_recipe(dump_recipe(recipe), Path("/elsewhere")) == recipe


def test_check_paths_is_silent_where_all_is_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").touch()
    check_paths(parse_recipe(MINIMAL, tmp_path))


@pytest.mark.parametrize(
    ("domain", "line", "problem"),
    [
        ("chest_xrays", 'views = ["pa"]', "catalog.0.views: 'pa' is not known; did you mean 'PA'?"),
        ("chest_xrays", 'views = ["frontal"]', "catalog.0.views: 'frontal' is not known; there are PA, AP, LL, RL"),
        ("chest_xrays", 'layout = "nih"', "catalog.0.layout: the collection's own tables are read; leave out table"),
        ("galaxies", 'views = ["PA"]', "catalog.0.views: is for chest_xrays; leave it out"),
        ("galaxies", 'layout = "nih"', "catalog.0.layout: is for chest_xrays; leave it out"),
        ("galaxies", '[store]\nwindow = "declared"', "store.window: is for chest_xrays; leave it out"),
        ("galaxies", '[store]\nmarks = "keep"', "store.marks: is for chest_xrays; leave it out"),
        ("chest_xrays", '[labels.a]\nkind = "real"\nuncertain = "zero"', "labels.a.uncertain: is for yes_no, and"),
        ("chest_xrays", '[labels.a]\nkind = "classes"\nblank = "zero"', "labels.a.blank: is for yes_no, and"),
    ],
)
def test_keys_of_radiographs_are_checked(domain: str, line: str, problem: str) -> None:
    text = f'domain = "{domain}"\n[[catalog]]\nname = "a"\ntable = "t.csv"\nbands = ["grey"]\n{line}\n'
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    assert caught.value.problems[0].startswith(problem)
