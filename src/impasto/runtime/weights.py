"""How many weights a graph has, read from the ONNX file itself, because the package ``onnx`` is not needed to paint."""

from __future__ import annotations

import math
from collections.abc import Iterator

from impasto.errors import EngineError

# Field numbers of onnx.proto, and the element types that weights have (float, uint8, int8, float16, double, bfloat16).
_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR = 7, 1, 5, 5, 5
_DIMS, _TYPE = 1, 2
_WEIGHTS = frozenset({1, 2, 3, 10, 11, 16})


def count_weights(graph: bytes) -> int:
    """Numbers in the constants of an ONNX graph, those that stand for shapes and places left out.

    Raises:
        EngineError: it is no ONNX file.
    """
    try:
        return sum(_numbers(tensor) for inner in _messages(memoryview(graph), _GRAPH) for tensor in _tensors(inner))
    except (IndexError, ValueError) as error:
        raise EngineError("The graph is no ONNX file: get the model again.") from error


def _tensors(graph: memoryview) -> Iterator[memoryview]:
    yield from _messages(graph, _INITIALIZER)
    for node in _messages(graph, _NODE):
        for attribute in _messages(node, _ATTRIBUTE):
            yield from _messages(attribute, _TENSOR)


def _numbers(tensor: memoryview) -> int:
    dims, kind = [], 0
    for number, value in _fields(tensor):
        if number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
    return math.prod(dims) if kind in _WEIGHTS and dims else 0


def _packed(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(data):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:  # a number of any length
                value, at = _varint(data, at)
                yield key >> 3, value
            case 2:  # bytes, or a message
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise ValueError("cut short")
                yield key >> 3, data[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise ValueError(f"wire type {other}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number without an end")
