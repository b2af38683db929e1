"""Columns of Parquet files as pyarrow and Hugging Face's `datasets` read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def vectors(rows: NDArray[Any]) -> Any:
    """Return an array [N, ...] as a column of lists of one length."""
    import pyarrow as pa

    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def count_missing(file: BinaryIO, column: str) -> tuple[int, int]:
    """Return how many rows a file has, and how many of them lack a value of a column, from its footer."""
    import pyarrow.parquet

    footer = pyarrow.parquet.read_metadata(file)
    place = footer.schema.names.index(column)
    groups = [footer.row_group(i).column(place).statistics.null_count for i in range(footer.num_row_groups)]
    return footer.num_rows, sum(groups)


def hugging_face(kinds: Mapping[str, Any], label_names: Sequence[str]) -> str:
    """Return the metadata that tell `datasets`, and `ganserve train`, what columns of Arrow types mean."""
    import pyarrow as pa

    features: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name == "image":
            features[name] = {"_type": "Image"}
        elif name == "label":
            features[name] = {"_type": "ClassLabel", "names": list(label_names)}
        elif pa.types.is_fixed_size_list(kind):
            value = {"_type": "Value", "dtype": _dtype(kind.value_type)}
            features[name] = {"_type": "List", "feature": value, "length": kind.list_size}
        else:
            features[name] = {"_type": "Value", "dtype": _dtype(kind)}
    return json.dumps({"info": {"features": features}})


def _dtype(kind: Any) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
