"""Test the bounds of messages on the wire."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc.message_bounds import (
    MOST_ENTRIES,
    MOST_FIELDS,
    MOST_INTEGERS,
    MOST_TEXT_BYTES,
    LargeMessageError,
    MalformedMessageError,
    check_bounds,
    check_bounds_quickly,
)
from ganserve_server.errors import InvalidRequestError
from hostile import METHODS, Hostile

SAMPLE = gan_service_pb2.SampleRequest.DESCRIPTOR
INFER = service_pb2.ModelInferRequest.DESCRIPTOR


def refusal(data: bytes, descriptor: object) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        check_bounds(data, descriptor)
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("field", "entry", "most"),
    [
        ("label_names", b"\x2a\x04zero", 65536),
        ("controls", b"\x72\x02\x0a\x00", MOST_ENTRIES),
        ("label_indices", b"\x22\x02\x00\x00", 2**20),
    ],
)
def test_a_repeated_field_has_a_bound(field: str, entry: bytes, most: int) -> None:
    each = 2 if field == "label_indices" else 1  # two packed numbers
    if most // each <= MOST_FIELDS:
        check_bounds(entry * (most // each), SAMPLE)
        assert refusal(entry * (most // each + 1), SAMPLE) == {
            field: f"has more than {most} entries; expected at most {most}"
        }
    else:
        check_bounds(gan_service_pb2.SampleRequest(label_indices=[300] * most).SerializeToString(), SAMPLE)
        more = gan_service_pb2.SampleRequest(label_indices=[300] * (most + 1)).SerializeToString()
        assert refusal(more, SAMPLE) == {field: f"has more than {most} entries; expected at most {most}"}


@pytest.mark.parametrize("kind", ["int", "int64", "uint", "uint64"])
def test_integers_that_grow_in_memory_are_bounded_over_all_tensors(kind: str) -> None:
    name = f"{kind}_contents"
    request = service_pb2.ModelInferRequest()
    for _ in range(4):
        getattr(request.inputs.add().contents, name).extend([1] * (MOST_INTEGERS // 4))
    check_bounds(request.SerializeToString(), INFER)
    getattr(request.inputs.add().contents, name).append(1)
    assert refusal(request.SerializeToString(), INFER) == {
        f"inputs.contents.{name}": "makes more than 4194304 integers in the message; send larger tensors in raw form"
    }


def test_numbers_that_do_not_grow_are_bounded_by_the_size_of_the_message() -> None:
    request = service_pb2.ModelInferRequest()
    contents = request.inputs.add().contents
    contents.bool_contents.extend([True] * (MOST_INTEGERS + 1))
    contents.fp32_contents.extend([1.0] * (MOST_INTEGERS + 1))
    check_bounds(request.SerializeToString(), INFER)


def test_nested_fields_are_named_by_their_path() -> None:
    request = service_pb2.ModelInferRequest()
    request.inputs.add(name="x").shape.extend([1] * 65)
    assert refusal(request.SerializeToString(), INFER) == {
        "inputs.shape": "has more than 64 entries; expected at most 64"
    }
    request = service_pb2.ModelInferRequest()
    request.inputs.add(name="x" * (MOST_TEXT_BYTES + 1))
    assert refusal(request.SerializeToString(), INFER) == {
        "inputs.name": f"is {MOST_TEXT_BYTES + 1} bytes long; expected at most {MOST_TEXT_BYTES}"
    }


@pytest.mark.parametrize("number", [b"\0", b"\xac\2", b"\xff\xff\xff\xff\x0f", b"\x80" * 9 + b"\1"])
@pytest.mark.parametrize("parts", [1, 3])
def test_packed_numbers_of_any_length_are_counted(number: bytes, parts: int) -> None:
    most = 2**20

    def message(count: int) -> bytes:
        counts = [count // 3] * (parts - 1)
        counts.append(count - sum(counts))
        return b"".join(b"\x22" + encoded_length(each * len(number)) + number * each for each in counts)

    assert len(gan_service_pb2.SampleRequest.FromString(message(1000)).label_indices) == 1000
    check_bounds(message(most), SAMPLE)
    more = {"label_indices": f"has more than {most} entries; expected at most {most}"}
    assert refusal(message(most + 1), SAMPLE) == more
    assert refusal(message(10 * most + 1), SAMPLE) == more


def encoded_length(length: int) -> bytes:
    return bytes(gan_service_pb2.SampleRequest(label_indices=[length]).SerializeToString()[2:])


def test_fields_are_counted_in_all_nested_messages_together() -> None:
    one = service_pb2.ModelInferRequest()
    for index in range(60):
        for key in range(1000):
            one.inputs.add() if key == 0 else None
            one.inputs[index].parameters[str(key)].int64_param = 1
    assert refusal(one.SerializeToString(), INFER) == {
        "request": f"has more than {MOST_FIELDS} fields; expected fewer: send several requests"
    }


def test_a_tensor_of_megabytes_is_checked_quickly_and_many_fields_are_not() -> None:
    request = gan_service_pb2.SampleRequest(model="tiny")
    request.latents.data = bytes(2**23)
    check_bounds_quickly(request.SerializeToString(), SAMPLE)
    with pytest.raises(LargeMessageError):
        check_bounds_quickly(b"\x2a\x00" * 65, SAMPLE)


@pytest.mark.parametrize("seed", range(5))
def test_the_walk_takes_what_protobuf_takes(seed: int) -> None:
    source, taken = Hostile(seed), 0
    for _ in range(1500):
        path, _, messages = source.request()
        descriptor = METHODS[path].input_type
        for data in messages:
            try:
                GetMessageClass(descriptor).FromString(data)
            except DecodeError:
                continue
            taken += 1
            try:
                check_bounds(data, descriptor)
            except MalformedMessageError:
                assert _has_group(data, descriptor), (path, data)
            except InvalidRequestError as error:
                if "has more than 64 entries" not in str(error):  # of which it has 100
                    raise
    assert taken > 500


def _has_group(data: bytes, descriptor: object) -> bool:
    """Return whether flipped bits made a group, which the walk refuses, of a field."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    def groups(message: object) -> bool:
        if any(field.wire_type in {3, 4} for field in UnknownFieldSet(message)):
            return True
        return any(
            groups(one)
            for field, value in message.ListFields()
            if field.message_type is not None and not field.message_type.GetOptions().map_entry
            for one in (value if field.is_repeated else [value])
        )

    return groups(GetMessageClass(descriptor).FromString(data))
