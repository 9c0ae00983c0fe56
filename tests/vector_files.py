# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Parquet files with vectors, as `polyaudio embed` and others write them."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


needs_usearch = pytest.mark.skipif(
    importlib.util.find_spec("usearch") is None, reason="usearch is not installed: pip install polyaudio[search]"
)


def clustered(rows: int, size: int, *, clusters: int = 20, seed: int = 0) -> np.ndarray:
    """Vectors around a few centres, float32."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, size))
    return (centres[rng.integers(clusters, size=rows)] + 0.4 * rng.standard_normal((rows, size))).astype(np.float32)


def write_vectors(
    path: Path,
    vectors: np.ndarray,
    files: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    /,
    *,
    row_group_size: int = 16,
    name: str = "vector",
    **columns: Sequence[Any],
) -> Path:
    """One Parquet file with a row for each vector."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"file": list(files), name: column, **columns})
    if settings is not None:
        table = table.replace_schema_metadata({"polyaudio": json.dumps(settings)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size, compression="zstd")
    return path
