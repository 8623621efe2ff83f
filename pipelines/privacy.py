"""Private domains: nothing that leaves `prepare` names a person, a file or a path.

Ids of images and patients become keyed pseudonyms before anything is written. What links them to files is one list a
run, readable by its owner alone, outside of the run's folder.
"""

import csv
import errno
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import pandas as pd

from catalogs.columns import texts
from catalogs.errors import CatalogError
from catalogs.pseudonyms import Pseudonyms, load_secret, private_folder, write_private
from catalogs.supervisor import WorkerError
from pipelines.domains.domain import Kept
from pipelines.recipe import RecipeError
from pipelines.run_folder import RunFolder, RunFolderError

SHOWN = ("object_id", "group", "split", "half", "catalog", "ra", "dec", "redshift")


@final
class PublicError(ValueError):
    """An error whose text is fit to be shown in a private domain."""


def pseudonyms(run: RunFolder) -> Pseudonyms:
    """The keyed hash of this user; PublicError where its secret would lie in the run, which is passed on."""
    folder = private_folder()
    if folder.resolve().is_relative_to(run.folder.resolve()):
        raise PublicError("the secret would lie inside the run's folder; set DOMAINSSL_PRIVATE to a folder elsewhere")
    try:
        return Pseudonyms(load_secret(folder))
    except (OSError, ValueError) as error:
        raise PublicError(str(error)) from None


def hide(frame: pd.DataFrame, names: Pseudonyms, labels: tuple[str, ...], kept: Mapping[str, Kept]) -> pd.DataFrame:
    """The catalog with pseudonyms for object_id, group and study, its labels, and what `kept` allows of the rest."""
    issuers = frame["issuer"].fillna("")
    ids = [names.of("img", str(name)) for name in frame["object_id"]]
    known = {pair: names.of("pat", *pair) for pair in set(zip(issuers, frame["group"], strict=True))}
    groups = [known[pair] for pair in zip(issuers, frame["group"], strict=True)]
    studies = [
        None if pd.isna(study) else names.of("stu", *person, study)
        for *person, study in zip(issuers, frame["group"], frame["study"], strict=True)
    ]
    columns = [name for name in frame.columns if name in SHOWN or name in labels]
    others = {str(name): _allowed(frame[name], kept[name], names) for name in kept if name in set(frame) - set(columns)}
    return frame[columns].assign(object_id=ids, group=groups, study=pd.Series(studies, frame.index, object), **others)


def _allowed(values: "pd.Series[Any]", kept: Kept, names: Pseudonyms) -> "pd.Series[Any]":
    """What a column may show: numbers, words of the list (others are "other"), or pseudonyms; None where empty."""
    if kept == "number":
        return pd.to_numeric(values, errors="coerce").astype(float)
    written = texts(values)
    if kept == "pseudonym":
        shown = [None if text is None else names.of(str(values.name), text) for text in written]
    else:
        words = {word.lower(): word for word in kept}
        shown = [None if text is None else words.get(text.lower(), "other") for text in written]
    return pd.Series(shown, index=values.index, dtype=object)


def hide_inputs(inputs: Mapping[str, Mapping[str, str]], names: Pseudonyms) -> dict[str, dict[str, str]]:
    """Fingerprints of tables and folders under the secret: a plain hash of a file's name could be guessed."""
    return {
        kind: {name: names.of("source", value) for name, value in hashes.items()} for kind, hashes in inputs.items()
    }


def hide_sources(recipe: dict[str, Any], names: Pseudonyms) -> dict[str, Any]:
    """A recipe's fields with source ids in place of paths and patterns."""
    catalogs = []
    for entry in recipe["catalog"]:
        paths = [key for key in ("table", "images", "ebv_map") if entry[key] is not None]
        hidden: dict[str, Any] = {key: names.of("source", entry[key]) for key in paths}
        hidden["match"] = [{**match, "table": names.of("source", match["table"])} for match in entry["match"]]
        pattern = {"file_pattern": "{id}"} if entry["file_pattern"] is not None else {}
        catalogs.append({**entry, **hidden, **pattern})
    weights = recipe["encoder"]["weights"]
    if weights.endswith(".safetensors"):
        weights = names.of("source", weights) + ".safetensors"
    starts = {
        name: {**entry, "file": names.of("source", entry["file"]) + ".safetensors"}
        for name, entry in recipe["start"].items()
    }
    return {**recipe, "catalog": catalogs, "start": starts, "encoder": {**recipe["encoder"], "weights": weights}}


def write_sources(run: RunFolder, frame: pd.DataFrame, object_ids: "pd.Series[str]") -> None:
    """The list that links this run's pseudonyms to files: `sources/<id of the run>.csv` in the private folder."""
    folder = private_folder() / "sources"
    folder.mkdir(mode=0o700, exist_ok=True)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["object_id", "id", "issuer", "group", "file"])
    for name, raw, issuer, group, paths in zip(
        object_ids, frame["object_id"], frame["issuer"], frame["group"], frame["paths"], strict=True
    ):
        rows.writerow([name, raw, issuer or "", group, *paths])
    write_private(folder / f"{run.identity}.csv", text.getvalue())


@contextmanager
def guarded(private: bool) -> Iterator[None]:
    """In a private domain, errors leave this block without anything that the data said, and warnings not at all."""
    if not private:
        yield
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PublicError, RecipeError, RunFolderError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - what it says is not known to be safe
        raise PublicError(public(error)) from None


def public(error: Exception) -> str:
    """What may be said of any error: our own words where they quote nothing, else its type and place."""
    if isinstance(error, CatalogError):
        return error.public
    if isinstance(error, WorkerError):
        return f"a fault in a reading process: {error.where}; please report it"
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.parent.name in _OURS or file.parent.parent.name in _OURS:
            place = f" at {file.parent.name}/{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the same command again to go on"
    reason = (
        f" ({os.strerror(error.errno)})" if isinstance(error, OSError) and error.errno else ""
    )  # the system's words
    return f"{type(error).__name__}{place}{reason}; its text is withheld, since it may name a patient or a file"


_OURS = ("catalogs", "domainssl", "pipelines", "reports")
