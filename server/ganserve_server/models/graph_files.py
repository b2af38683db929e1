"""Check the ONNX files of a package without loading them: format, weights in other files, opset, precision."""

from ganserve.v1 import model_spec_pb2
from ganserve_server.engine.onnx_files import has_weights_elsewhere, is_onnx, opset_of, precision_of
from ganserve_server.error_text import enum_name
from ganserve_server.errors import PackageError
from ganserve_server.models.package_files import Package


def check_graph_files(package: Package) -> None:
    """Raise PackageError if a file is not ONNX, needs other files, or contradicts the manifest.

    The time grows with the size of the files, up to minutes for a hostile one.
    """
    spec = package.spec
    _check(spec.generator, "generator", package.generator)
    if package.critic is not None:
        _check(spec.critic, "critic", package.critic)
    if package.typicality is not None:
        _check(spec.typicality.graph, "typicality.graph", package.typicality)


def _check(graph: model_spec_pb2.GraphSpec, role: str, content: bytes) -> None:
    if not is_onnx(content):
        raise PackageError(f"{graph.file} is not an ONNX file: export again")
    if has_weights_elsewhere(content):
        raise PackageError(
            f"{graph.file} keeps weights in other files, which are never read: save it whole, without "
            "save_as_external_data, and export again"
        )
    opset, precision = opset_of(content), precision_of(content)
    if opset is not None and opset != graph.opset:
        raise PackageError(f"{role}.opset is {graph.opset}, and {graph.file} has opset {opset}: export again")
    if precision is not None and graph.precision != model_spec_pb2.Precision.Value(f"PRECISION_{precision.upper()}"):
        raise PackageError(
            f"{role}.precision is {enum_name(model_spec_pb2.Precision, graph.precision)}, and most weights of "
            f"{graph.file} are {precision}: export again"
        )
