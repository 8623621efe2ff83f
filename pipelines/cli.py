"""The command line: `domainssl …`. Results on stdout, progress on stderr, errors in one line.

Nothing heavy is imported before a command needs it: `--help`, `recipe`, `inspect` and recipe errors import no torch.
"""

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, final

from pipelines.progress import Lines, Progress, Quiet
from pipelines.recipe_messages import did_you_mean

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

DONE, FAILED, WRONG_USE, STOPPED = 0, 1, 2, 130
RECIPES = {"galaxies": "galaxies.toml", "chest": "chest_xrays.toml", "chest_xrays": "chest_xrays.toml"}
# How lines of a recipe begin, and what stands there in a quick one.
_LESS = (
    ("# epochs = 10 ", "epochs = 3 "),
    ("# projector_epochs = 5 ", "projector_epochs = 2 "),
    ("# heads = []", 'heads = ["linear"]'),
)
QUICK = {
    "galaxies.toml": (*_LESS, ("size = 96", "size = 64")),
    "chest_xrays.toml": (*_LESS, ("size = 256", "size = 128"), ("size = 224", "size = 96")),
}
STEP_HELP = {
    "prepare": "read the catalogs and lay their images down in the store",
    "pretrain": "continue the encoder's training on them, without labels",
    "embed": "one feature vector an object",
    "classify": "heads from few labels, and how good they are",
    "rank": "the most anomalous objects first",
    "report": "the page: map, scores, anomalies",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code: 0 done, 1 a run failed, 2 wrong usage or recipe, 130 stopped."""
    try:
        options = parse(sys.argv[1:] if arguments is None else list(arguments))
    except SystemExit as exit_:  # argparse: --help, or wrong usage
        return exit_.code if isinstance(exit_.code, int) else WRONG_USE
    try:
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        _say("stopped; run the same command again to go on")
        return STOPPED
    except BrokenPipeError:  # `domainssl recipe galaxies | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # noqa: BLE001  # the one place where errors become lines
        if options.debug:
            traceback.print_exc()
        code, lines = _explained(error)
        for line in lines:
            _say(f"domainssl: error: {line}")
        return code


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line; SystemExit with 2, after one line on stderr, where it is wrong."""
    parser, commands = _parser()
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is not None and first not in commands:
        hint = did_you_mean(first, commands) or f"; commands: {', '.join(commands)}"
        parser.error(f"unknown command {first!r}{hint}")
    if first is not None:
        command = commands[first]
        known = [flag for action in command._actions for flag in action.option_strings]
        for word in arguments[arguments.index(first) :]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in known:
                command.error(f"unknown option {flag}{did_you_mean(flag, known)}")
    return parser.parse_args(arguments)


@final
class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        choice = re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            known = re.findall(r"[\w-]+", choice[3])
            hint = did_you_mean(choice[2], known) or f"; give {' or '.join(known)}"
            message = f"{choice[1]}: {choice[2]!r} is not known{hint}"
        self.exit(WRONG_USE, f"domainssl: error: {message}; `{self.prog} --help` says more\n")


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog="domainssl",
        description="Self-supervised embeddings, few-label heads and ranked anomalies for galaxies and radiographs.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    always = _Parser(add_help=False)
    always.add_argument("--quiet", action="store_true", help="no progress on stderr")
    always.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    always.add_argument("--debug", action="store_true", help="a traceback with an error")
    machine = _Parser(add_help=False)
    machine.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: cuda if there")
    machine.add_argument("--workers", type=_count, default=_cores(), metavar="N", help="processes; default: all cores")
    recipe = _Parser(add_help=False)
    recipe.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe, as `domainssl recipe` prints one")
    recipe.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder")
    recipe.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change a key of the recipe")
    recipe.add_argument("--force", action="store_true", help="do it even if it was done before")

    commands: dict[str, _Parser] = {}

    def add(name: str, text: str, *parents: _Parser) -> _Parser:
        commands[name] = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            parents=[*parents, always],
            allow_abbrev=False,
        )
        return commands[name]

    demo = add("demo", "simulated sample, all steps, report.html", machine)
    demo.add_argument("domain", nargs="?", choices=("galaxies", "chest"), default="galaxies")
    demo.add_argument("--out", type=Path, metavar="DIR", help="default: runs/demo/galaxies or runs/demo/chest")
    demo.add_argument("--count", type=_count, metavar="N", help="how many objects to simulate")
    show = add("recipe", "print a commented recipe to start from")
    show.add_argument("domain", choices=tuple(RECIPES))
    show.add_argument("--quick", action="store_true", help="smaller images, few epochs, one head: minutes, not an hour")
    sky = add("simulate", "a simulated survey of any size, with truth and a recipe")
    sky.add_argument("out", type=Path, metavar="OUT", help="its folder; the same command again goes on")
    sky.add_argument("--objects", type=_count, required=True, metavar="N", help="how many objects")
    sky.add_argument("--format", choices=("fits", "store"), default="fits", help="files, or a run's store at once")
    sky.add_argument("--bands", default="grz", metavar="LETTERS", help="of u g r i z y; default: grz")
    sky.add_argument("--pixel-scale", type=float, default=0.262, metavar="ARCSEC", help="default: 0.262 a pixel")
    sky.add_argument("--size", type=_count, default=128, metavar="PX", help="default: 128 pixels a side")
    sky.add_argument("--noise", type=float, default=1.0, metavar="FACTOR", help="of the sky; 1 is twice DECaLS's")
    sky.add_argument("--overlap", type=float, default=0.2, metavar="SHARE", help="of objects that share pixels")
    sky.add_argument("--anomalies", type=float, default=0.03, metavar="SHARE", help="rings, mergers and artifacts")
    sky.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed is the same sky")
    sky.add_argument("--parents", type=_count, default=2000, metavar="N", help="galaxies rendered to begin with")
    sky.add_argument("--cache", type=Path, metavar="DIR", help="keep the rendered galaxies here for other surveys")
    sky.add_argument("--workers", type=_count, default=_cores(), metavar="N", help="processes; default: all cores")
    sky.add_argument("--dry-run", action="store_true", help="time and disk; does nothing")
    fetched = add("fetch", "a public collection into a folder, with its recipe; without NAME the list of them")
    fetched.add_argument("name", nargs="?", metavar="NAME", help="such as galaxy10_decals, or legacy_cutouts")
    fetched.add_argument("--out", type=Path, metavar="DIR", help="where it goes; the same command again goes on")
    fetched.add_argument("--limit", type=_count, metavar="N", help="a table of N objects; files come whole")
    fetched.add_argument("--mirror", metavar="URL", help="take the files from below this address")
    fetched.add_argument("--positions", type=Path, metavar="TABLE", help="ra and dec of the cutouts, in degrees")
    fetched.add_argument("--layer", metavar="NAME", help="of the cutouts; default: ls-dr10")
    fetched.add_argument("--size", type=_count, metavar="PX", help="of the cutouts; default: 160 pixels a side")
    fetched.add_argument("--pixscale", type=float, metavar="ARCSEC", help="of the cutouts; default: 0.262 a pixel")
    fetched.add_argument("--bands", metavar="LETTERS", help="of the cutouts; default: grz")
    fetched.add_argument("--dry-run", action="store_true", help="what would be fetched, and how large it is")
    inspect = add("inspect", "what the readers make of these files, and what they refuse")
    inspect.add_argument("path", type=Path, metavar="PATH")
    inspect.add_argument("--kind", choices=("galaxies", "chest_xrays"), required=True)
    inspect.add_argument("--workers", type=_count, default=_cores(), metavar="N", help="processes; default: all cores")
    inspect.add_argument("--limit", type=_count, metavar="N", help="read N files, evenly spread, instead of all")
    run = add("run", "all steps of a recipe, skipping those done", recipe, machine)
    run.add_argument("--dry-run", action="store_true", help="rows, disk, and what would be done; does nothing")
    for name, text in STEP_HELP.items():
        add(name, text, recipe, machine)
    commands["report"].add_argument(
        "--share", action="store_true", help="also shared.html, to hand out: no images or ids, no counts below 10"
    )
    evaluated = add("evaluate", "scratch, ImageNet and continued compared in full; or a sweep", recipe, machine)
    evaluated.add_argument(
        "--sweep", action="append", default=[], metavar="A.B=V1,V2", help="compare values of a key of the recipe"
    )
    evaluated.add_argument("--methods", metavar="A,B", help="compare methods under one budget; all: those that apply")
    evaluated.add_argument("--seconds", type=_count, metavar="N", help="of each method's training; default: 60")
    evaluated.add_argument("--images", type=_count, metavar="N", help="seen by each method, in place of --seconds")
    add("methods", "the self-supervised methods: family, needs, source, what they are good for")
    applied = add("apply", "a trained run on new data: its encoder, heads and ranking, and a page", machine)
    applied.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    applied.add_argument("catalog", type=Path, metavar="CATALOG", help="a folder of images, a table, or a recipe")
    applied.add_argument("--images", type=Path, metavar="DIR", help="what a table's files are relative to")
    applied.add_argument("--out", type=Path, metavar="DIR", help="default: a folder in RUN/applied")
    return parser, commands


def _recipe(options: argparse.Namespace) -> int:
    text = files("pipelines").joinpath("recipes", RECIPES[options.domain]).read_text(encoding="utf-8")
    if options.quick:
        for line, quick in QUICK[RECIPES[options.domain]]:
            assert text.count(f"\n{line}") == 1, line
            text = text.replace(f"\n{line}", f"\n{quick}")
    if options.json:
        from pipelines.recipe_toml import parse_toml

        _print_json(parse_toml(text))
    else:
        print(text, end="")
    return DONE


def _inspect(options: argparse.Namespace) -> int:
    from catalogs.inspection import inspect
    from pipelines.domains import DOMAINS
    from pipelines.privacy import guarded

    domain = DOMAINS[options.kind]
    with guarded(domain.private):
        inspection = inspect(
            options.path,
            domain.read,
            options.limit,
            domain.suffixes,
            private=domain.private,
            workers=options.workers,
        )
    if options.json:
        _print_json(inspection.as_dict())
    else:
        print(inspection.text())
    return DONE


def _simulate(options: argparse.Namespace) -> int:
    from catalogs.samples.survey_parents import SurveyOptions
    from pipelines.simulate import estimate, simulate

    wanted = SurveyOptions(
        seed=options.seed,
        bands=tuple(options.bands),
        pixel_scale=options.pixel_scale,
        size=options.size,
        parents=options.parents,
        noise=options.noise,
        overlap=options.overlap,
        anomalies=options.anomalies,
    )
    if options.dry_run:
        cost = estimate(wanted, options.objects, options.format, options.workers)
        if options.json:
            _print_json({"bytes": cost.bytes, "seconds": cost.seconds})
        else:
            print(cost.text())
        return DONE
    recipe = simulate(
        wanted, options.objects, options.out, options.format, options.workers, _progress(options), options.cache
    )
    if options.json:
        _print_json({"survey": str(options.out), "result": str(recipe)})
    else:
        print(recipe)
    return DONE


def _fetch(options: argparse.Namespace) -> int:
    from pipelines.fetching import FetchUseError, describe_collections, fetch, plan, positions_from

    try:
        if options.name is None:
            listed = describe_collections()
            width = max(map(len, listed))
            lines = (f"{name:{width}}  {text}" for name, text in listed.items())
            _print_json(listed) if options.json else print("\n".join(lines))
            return DONE
        positions = positions_from(
            options.name, options.positions, options.layer, options.size, options.pixscale, options.bands
        )
        if options.out is None:
            raise FetchUseError("--out DIR is missing: where the collection goes")
        if options.dry_run:
            found = plan(options.name, options.out, positions, options.limit)
            _print_json(found.as_dict()) if options.json else print(found.text())
            return DONE
        recipe = fetch(
            options.name,
            options.out,
            _progress(options),
            limit=options.limit,
            mirror=options.mirror,
            positions=positions,
        )
    except FetchUseError as error:
        _say(f"domainssl: error: {error}")
        return WRONG_USE
    if options.json:
        _print_json({"folder": str(options.out), "recipe": str(recipe)})
    else:
        print(recipe)
    return DONE


def _demo(options: argparse.Namespace) -> int:
    from pipelines.demo import run_demo

    out = options.out or Path("runs/demo") / options.domain
    report = run_demo(options.domain, out, options.count, options.workers, options.device, _progress(options))
    if options.json:
        _print_json({"run": str(report.parent), "result": str(report)})
    else:
        print(report)
    return DONE


def _apply(options: argparse.Namespace) -> int:
    from pipelines.apply import apply
    from pipelines.run_folder import RunFolder

    trained = RunFolder.open(options.run, create=False)
    report = apply(
        trained, options.catalog, options.images, options.out, options.workers, options.device, _progress(options)
    )
    if options.json:
        _print_json({"run": str(report.parent), "result": str(report)})
    else:
        print(report)
    return DONE


def _run(options: argparse.Namespace) -> int:
    from pipelines.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.set)
    if options.command == "run" and options.dry_run:
        from pipelines.estimate import estimate

        found = estimate(recipe, options.out)
        if options.json:
            _print_json(found.as_dict())
        else:
            print(found.text())
        return DONE

    return _steps(options, recipe)


def _methods(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from domainssl.methods.registry import METHODS

    if options.json:
        _print_json({name: {k: v for k, v in asdict(about).items() if k != "where"} for name, about in METHODS.items()})
        return DONE
    width = max(map(len, METHODS))
    for name, about in METHODS.items():
        needs = f"; needs {', '.join(about.needs)}" if about.needs else ""
        print(f"{name:{width}}  {about.family}{needs}: {about.good_for} ({about.source})")
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    from pipelines.evaluate import evaluate, full_recipe

    if options.methods and options.sweep:
        _say("domainssl: error: --methods and --sweep are two comparisons; give one of them")
        return WRONG_USE
    if (options.seconds or options.images) and (not options.methods or (options.seconds and options.images)):
        _say("domainssl: error: --seconds or --images is the budget of --methods; give one of them beside it")
        return WRONG_USE
    if not options.sweep and not options.methods:
        return _steps(options, full_recipe(options.recipe, options.set))
    if options.methods:
        from pipelines.method_comparison import method_variants

        limit = f"images={options.images}" if options.images else f"seconds={options.seconds or 60}"
        compared = method_variants(options.recipe, options.set, options.methods, f"pretrain.{limit}")
    else:
        from pipelines.sweeps import parse_sweep, variants

        compared = variants(options.recipe, options.set, [parse_sweep(text) for text in options.sweep], options.out)
    shown = traceback.print_exception if options.debug else lambda error: None
    found = evaluate(compared, options.out, options.workers, options.device, _progress(options), options.force, shown)
    if options.json:
        page = None if found.page is None else str(found.page)
        steps, failures = dict(found.steps), dict(found.failures)
        _print_json({"evaluation": str(options.out), "variants": steps, "failures": failures, "result": page})
    elif found.page is not None:
        print(found.page)
    if options.methods and found.steps:
        from pipelines.method_comparison import write_comparison

        table = write_comparison([variant for variant in compared if variant.name in found.steps], options.out)
        print(table, end="") if not options.json else None
    if not found.failures:
        return DONE
    _say(f"domainssl: error: {found.failed()}")
    return FAILED


def _steps(options: argparse.Namespace, recipe: "Recipe") -> int:
    """Does the steps that the command means, and prints where their result is."""
    from pipelines.run_folder import RunFolder
    from pipelines.steps import STEPS, Context, run_steps

    run = RunFolder.open(options.out, create=options.command in ("run", "evaluate", "prepare"))
    context = Context(recipe, run, options.workers, options.device, _progress(options))
    names = (options.command,) if options.command in STEPS else tuple(STEPS)
    outcome = run_steps(context, names, options.force)
    result = run.report if "report" in names else run.folder
    if options.command == "report" and options.share:
        from pipelines.share import share

        result = share(context)
    if options.json:
        _print_json({"run": str(run.folder), "steps": outcome, "result": str(result)})
    else:
        print(result)
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": _demo,
    "recipe": _recipe,
    "simulate": _simulate,
    "fetch": _fetch,
    "inspect": _inspect,
    "evaluate": _evaluate,
    "methods": _methods,
    "apply": _apply,
    "run": _run,
    **dict.fromkeys(STEP_HELP, _run),
}


def _explained(error: Exception) -> tuple[int, Sequence[str]]:
    from pipelines.recipe import RecipeError
    from pipelines.run_folder import NotARunError
    from pipelines.steps import StepError, describe

    if isinstance(error, RecipeError):
        return WRONG_USE, error.problems
    if isinstance(error, NotARunError):
        return WRONG_USE, [str(error)]
    if isinstance(error, StepError):
        return FAILED, [str(error)]
    return FAILED, [describe(error)]


def _progress(options: argparse.Namespace) -> Progress:
    return Quiet() if options.quiet else Lines()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(result: object) -> None:
    print(json.dumps(result, indent=2, ensure_ascii=False))


@final
class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"domainssl {version('domainssl')}")
        except PackageNotFoundError:
            print("domainssl, run from its source without being installed")
        parser.exit()
