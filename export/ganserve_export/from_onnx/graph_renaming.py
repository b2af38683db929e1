"""Rename values of a graph, also inside its branches and loops."""

from collections.abc import Mapping
from typing import Any

import onnx


def graphs_within(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the branches and loop bodies of a node."""
    single = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return single + [graph for attribute in node.attribute for graph in attribute.graphs]


def names_of(graph: onnx.GraphProto) -> set[str]:
    """Return every name in a graph and its branches and loops."""
    parts: tuple[Any, ...] = (*graph.input, *graph.output, *graph.initializer, *graph.node)
    names = {part.name for part in parts} | {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        names |= {*node.input, *node.output}.union(*map(names_of, graphs_within(node)))
    return names


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values everywhere: names must be unique across branches and loops, too."""
    parts: tuple[Any, ...] = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
    for part in parts:
        part.name = names.get(part.name, part.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for within in graphs_within(node):
            rename(within, names)


def unused_prefix(graph: onnx.GraphProto, word: str) -> str:
    """Return word/, word2/ or the like: a prefix that no name of the graph has."""
    used = names_of(graph)
    number, prefix = 1, f"{word}/"
    while any(name.startswith(prefix) for name in used):
        number += 1
        prefix = f"{word}{number}/"
    return prefix
