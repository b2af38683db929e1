"""Read an ONNX file that was made elsewhere, with its weights in files beside it."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.operators_and_opsets import all_nodes
from ganserve_export.from_onnx.runtime_errors import one_line
from ganserve_export.package.onnx_graphs import MAX_BYTES


def load_onnx(file: Path) -> tuple[onnx.ModelProto, list[Path]]:
    """Return a model with all of its weights inside, and the files beside it that held them."""
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ExportError(f"{file} has {size:,} bytes: a package's graph is one file of less than 2 GiB")
        model = onnx.load_model(file, format="protobuf", load_external_data=False)
    except OSError as error:
        raise ExportError(f"{file} cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise ExportError(f"{file} is not an ONNX file, or only part of one") from error
    if not model.graph.output or not model.opset_import:
        raise ExportError(f"{file} is not an ONNX file: it has no graph with outputs")
    folder = file.parent.resolve()
    beside: dict[str, Path] = {}
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            location = external_data_helper.ExternalDataInfo(tensor).location
            beside.setdefault(location, _weight_file(folder, location, file))
    total = size + sum(path.stat().st_size for path in beside.values())
    if total > MAX_BYTES:
        remedy = "a package's graph is one file of less than 2 GiB. Export it in float16, or a smaller network"
        raise ExportError(f"{file} has {total:,} bytes with its weights: {remedy}")
    if beside:
        try:
            onnx.load_external_data_for_model(model, str(folder))
        except Exception as error:  # onnx documents none of its errors here
            raise ExportError(f"the weights beside {file} cannot be read: {one_line(error)}") from error
    return model, list(beside.values())


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that may be stored in another file."""
    graphs = [model.graph]
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs.extend((attribute.g, *attribute.graphs))
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _weight_file(folder: Path, location: str, file: Path) -> Path:
    path = folder / location
    if not path.resolve().is_relative_to(folder) or path.resolve() == folder:
        raise ExportError(
            f"{file} takes weights from {location!r}, outside its own folder: only files beside it are read. Save it "
            "again with its weights beside it (a link counts as the file that it points to)"
        )
    if not path.is_file():
        raise ExportError(f"{file} takes weights from {location!r}, which does not exist: put that file beside it")
    return path
