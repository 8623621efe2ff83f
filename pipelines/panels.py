"""Pictures of what a method does, from the pretrain step to the page."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from domainssl.methods.method import Method, Panel
from domainssl.pretraining import step_generator, to_device
from domainssl.store import Store
from domainssl.views.operation import Policy, apply_policy
from pipelines.atomic import atomic_write
from pipelines.domains import DOMAINS
from reports.panels import Drawn

SEEN, STREAM = 128, 3  # images (few of which are shown), and their stream of random numbers


def make_panels(method: Method, store: Store, rows: np.ndarray, policy: Policy, seed: int) -> tuple[Panel, ...]:
    """What the method shows of some images of the training half, in the state that training left it."""
    chosen = np.sort(np.random.default_rng([seed, STREAM]).permutation(rows)[:SEEN])
    generator = step_generator(seed, STREAM, 0)
    batch = store.batch(chosen)
    device = str(next(method.parameters()).device)
    views = tuple(to_device(apply_policy(part, batch, generator), device) for part in method.policies(policy))
    method.eval()
    with torch.no_grad():
        return method.panels(views, generator)


def save_panels(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels into one .npz file; removes it where there are none."""
    if not panels:
        path.unlink(missing_ok=True)
        return
    told = [{"title": p.title, "note": p.note, "kind": p.kind, "rows": p.rows, "columns": p.columns} for p in panels]
    values = {f"values{number}": panel.values.float().cpu().numpy() for number, panel in enumerate(panels)}
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez_compressed(file, told=np.array(json.dumps(told)), **values)  # type: ignore[arg-type]


def drawn_panels(
    path: Path, domain: str, bands: tuple[str, ...], scale: Float64[np.ndarray, " c"] | None
) -> list[Drawn]:
    """The panels of a file as the page takes them, images as the domain renders them; none without a file."""
    if not path.is_file():
        return []
    found = []
    with np.load(path) as file:
        for number, told in enumerate(json.loads(str(file["told"]))):
            values = file[f"values{number}"]
            if told["kind"] == "images":
                rows, columns = values.shape[:2]
                flat = values.reshape(-1, *values.shape[2:])
                pictures = DOMAINS[domain].render(flat, bands, scale)
                values = pictures.reshape(rows, columns, *pictures.shape[1:])
            found.append(Drawn(told["title"], told["note"], told["kind"], values, told["rows"], told["columns"]))
    return found
