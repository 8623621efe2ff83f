"""Features of every object, shard by shard, written so that a stopped run goes on where it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Float32, Int64

from domainssl.cues import Images
from domainssl.encoders import TimmEncoder
from domainssl.features import FEATURES, SYMMETRIES, Features, Symmetry, width
from domainssl.precision import Precision
from domainssl.pretraining import step_generator, to_device
from domainssl.views.affine_crop import whole_frame

BATCH = 128


def embed(
    encoder: TimmEncoder,
    store: Images,
    rows: Int64[np.ndarray, " n"],
    *,
    precision: Precision,
    device: str = "cpu",
    on_batch: Callable[[int], None] = lambda count: None,
    features: Features = "last",
    symmetry: Symmetry = "none",
) -> Float32[np.ndarray, "n d"]:
    """Features of the whole frames of these rows, in this order; the encoder is left in evaluation mode.

    `features` is a kind of FEATURES; `symmetry` is the domain's: the kind "symmetry" takes the mean over it, the others
    do not use it. Raises ValueError for "stages" of a network that has none.
    """
    encoder.to(device).eval()
    precision.arrange(encoder)
    view, unused = whole_frame(encoder.input.size), step_generator(0, 0, 0)
    found = np.empty((len(rows), width(encoder, features)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = to_device(view(store.batch(rows[start : start + BATCH]), unused), device)
            with precision.autocast(device):
                values = FEATURES[features].values(encoder, batch.images, SYMMETRIES[symmetry])
            found[start : start + BATCH] = values.cpu().numpy()
            on_batch(len(batch.rows))
    return found


def write_part(
    path: Path,
    object_ids: list[str],
    ra: Float[np.ndarray, " n"],
    dec: Float[np.ndarray, " n"],
    features: Float32[np.ndarray, "n d"],
    model: str,
) -> None:
    """Write one Parquet part: object_id, ra, dec, embedding as a fixed list of float16; atomic.

    The dimension and the hash of the model stand in the schema's metadata. Raises ValueError for features beyond
    float16's range (65,504), which no normalised network gives.
    """
    if not (np.abs(features) <= np.finfo(np.float16).max).all():
        raise ValueError("features are not finite or beyond float16; the encoder's weights are broken")
    width = features.shape[1]
    values = pa.array(features.astype(np.float16).ravel())
    table = pa.table(
        {
            "object_id": pa.array(object_ids, pa.string()),
            "ra": pa.array(ra, pa.float64()),
            "dec": pa.array(dec, pa.float64()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, width),
        }
    ).replace_schema_metadata({"dimension": str(width), "model": model})
    part = path.with_suffix(".parquet.part")
    # Byte-stream-split with zstd is the smallest for float16 vectors; dictionaries only cost.
    pq.write_table(
        table,
        part,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT"},
    )
    part.replace(path)


def read_parts(folder: Path) -> tuple[list[str], Float32[np.ndarray, "n d"], str]:
    """All parts of an embedding in order: object ids, features, the model's hash.

    Raises ValueError where there is none, or where parts come from different models.
    """
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise ValueError("the run has no embeddings yet; run the embed step first")
    ids: list[str] = []
    features, models = [], set()
    for path in paths:
        table = pq.read_table(path)
        metadata = table.schema.metadata
        models.add(metadata[b"model"].decode())
        ids += table.column("object_id").to_pylist()
        flat = table.column("embedding").combine_chunks().values.to_numpy(zero_copy_only=False)
        features.append(flat.reshape(-1, int(metadata[b"dimension"])).astype(np.float32))
    if len(models) > 1:
        raise ValueError(f"the embeddings come from {len(models)} different encoders; run the embed step again")
    return ids, np.concatenate(features), models.pop()
