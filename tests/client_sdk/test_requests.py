"""Test what the clients refuse before sending, without a server."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganserve import AsyncClient, AsyncSampleStream, AsyncScoreStream, Client, InvalidRequest, SampleStream, ScoreStream
from ganserve._calls.requests import sample_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Api

BAD_SAMPLE_ARGUMENTS: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
    ("n", "is 0; expected at least 1", (0,), {}),
    ("n", "is -3; expected at least 1", (np.int32(-3),), {}),
    ("n", "is 2.0; expected an int", (2.0,), {}),
    ("n", "is True; expected an int", (True,), {}),
    ("n", "is '4'; expected an int", ("4",), {}),
    ("n", "expected at most 281474976710656", (2**48 + 1,), {}),
    ("label", "is True; expected a label's name", (1, True), {}),
    ("label", "is 1.0; expected a label's name", (1, 1.0), {}),
    ("label", "expected a label's name", (1, b"one"), {}),
    ("label", "is -1; expected a label's index, 0 or above", (1, -1), {}),
    ("label", "is 4294967296; expected a label's index", (1, 2**32), {}),
    ("label", "is an empty name", (1, ""), {}),
    ("label", "has 2 entries; expected one label for all, or one for each of the 3 samples", (3, [1, 2]), {}),
    ("label", "has 0 entries", (3, []), {}),
    ("label", "has names and indices", (2, [1, "one"]), {}),
    ("label[1]", "is True", (2, [1, True]), {}),
    ("label[0]", "is 0.5", (2, np.array([0.5, 1])), {}),
    ("label[0]", "is False", (2, np.array([False, True])), {}),
    ("label", "has the shape [2, 1]; expected one axis", (2, np.array([[1], [2]])), {}),
    ("seed", "is -1; expected at least 0", (1,), {"seed": -1}),
    ("seed", "expected at most 18446744073709551615", (1,), {"seed": 2**64}),
    ("seed", "is 1.5; expected an int", (1,), {"seed": 1.5}),
    ("seed", "is False; expected an int", (1,), {"seed": False}),
    ("offset", "is -1; expected at least 0", (1,), {"offset": -1}),
    ("offset", "expected offset + n of at most 2^48 (n is 2)", (2,), {"offset": 2**48 - 1}),
    ("truncation", "is -1; expected a finite number of at least 0", (1,), {"truncation": -1}),
    ("truncation", "is nan", (1,), {"truncation": math.nan}),
    ("truncation", "is inf", (1,), {"truncation": math.inf}),
    ("truncation", "is True", (1,), {"truncation": True}),
    ("truncation", "is 'small'", (1,), {"truncation": "small"}),
    ("controls", "is 0.5; expected values by name", (1,), {"controls": 0.5}),
    ("controls", "has c0 = nan; expected a finite number", (1,), {"controls": {"c0": math.nan}}),
    ("controls", "has c0 = '1'; expected a finite number", (1,), {"controls": {"c0": "1"}}),
    ("controls", "has c0 = True; expected a finite number", (1,), {"controls": {"c0": True}}),
    ("controls", "has the name 0; expected the name of a control", (1,), {"controls": {0: 1.0}}),
    ("model", "is ''; expected a model's name", (1,), {"model": ""}),
    ("model", "is 7; expected a model's name", (1,), {"model": 7}),
    ("version", "is 0; expected at least 1", (1,), {"version": 0}),
    ("return_scores", "is 1; expected a bool", (1,), {"return_scores": 1}),
    ("return_latents", "is 'yes'; expected a bool", (1,), {"return_latents": "yes"}),
    ("timeout_s", "is 0; expected seconds above 0", (1,), {"timeout_s": 0}),
    ("timeout_s", "is nan; expected seconds above 0", (1,), {"timeout_s": math.nan}),
    ("timeout_s", "is '1'", (1,), {"timeout_s": "1"}),
]
BAD_LATENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("latents", "is <U1; expected real numbers", {"latents": [["a", "b"], ["c", "d"]]}),
    ("latents", "is bool; expected real numbers", {"latents": np.ones((2, 4), bool)}),
    ("latents", "is complex64; expected real numbers", {"latents": np.ones((2, 4), np.complex64)}),
    ("latents", "has the shape [8]", {"latents": np.ones(8)}),
    ("latents", "is not an array", {"latents": [[1.0], [1.0, 2.0]]}),
    ("latents", "has 3 rows and n is 2", {"latents": np.ones((3, 4))}),
    ("latents", "has NaN or infinity", {"latents": [[math.nan], [1.0]]}),
    ("latents", "has NaN or infinity", {"latents": [[1e300], [1.0]]}),
    ("seed", "cannot be combined with latents", {"latents": np.ones((2, 4)), "seed": 0}),
    ("offset", "cannot be combined with latents", {"latents": np.ones((2, 4)), "offset": 1}),
    ("controls", "cannot be combined with latents", {"latents": np.ones((2, 4)), "controls": {"c0": 1.0}}),
]
BAD_IMAGES: list[tuple[str, str, Any]] = [
    ("images", "is None; expected uint8 images", None),
    ("images", "is an int; expected uint8 images", 7),
    ("images", "is empty; expected at least one", []),
    ("images", "is uint8 [0, 8, 8, 1]; expected at least one sample", np.zeros((0, 8, 8, 1), np.uint8)),
    ("images", "is float32 [2, 8, 8, 1]; expected images as uint8", np.zeros((2, 8, 8, 1), np.float32)),
    ("images", "is int64 [8, 8]; expected images as uint8", np.zeros((8, 8), np.int64)),
    ("images", "is bool [8, 8]", np.zeros((8, 8), bool)),
    ("images", "is uint8 [8]", np.zeros(8, np.uint8)),
    ("images", "is float64 [3, 3, 3, 3, 3]", np.zeros((3,) * 5)),
    ("images", "has NaN or infinity", np.array([[1.0, math.inf]])),
    ("images[1]", "is an int", [np.zeros((8, 8), np.uint8), 3]),
    (
        "images[1]",
        "is uint8 [4, 4, 1]; expected uint8 [8, 8, 1] like the others",
        [np.zeros((8, 8), np.uint8), np.zeros((4, 5), np.uint8)[:, :4]],
    ),
    ("images[1]", "is float32 [8]", [np.zeros((8, 8), np.uint8), np.zeros((1, 8))]),
    ("images", "'not-there.png' does not exist", "not-there.png"),
    ("images[0]", "has the mode CMYK, not 8-bit gray or RGB", [Image.new("CMYK", (8, 8))]),
    ("images", "has the mode I;16", Image.new("I;16", (8, 8))),
]


@pytest.mark.parametrize(("argument", "description", "args", "kwargs"), BAD_SAMPLE_ARGUMENTS)
def test_bad_arguments_of_sample_and_stream(
    connect: Callable[..., Api], closed_port: str, argument: str, description: str, args: Any, kwargs: Any
) -> None:
    api = connect(closed_port)
    for method in (api.sample, api.stream):  # a stream refuses at once, not at its first batch
        with pytest.raises(InvalidRequest) as caught:
            method(*args, **kwargs)
        _check(caught.value, argument, description)


@pytest.mark.parametrize(("argument", "description", "kwargs"), BAD_LATENTS)
def test_bad_latents(
    connect: Callable[..., Api], closed_port: str, argument: str, description: str, kwargs: Any
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).sample(2, **kwargs)
    _check(caught.value, argument, description)


@pytest.mark.parametrize("chunk_size", [0, -1, 2**32, True, 1.0])
def test_bad_chunk_sizes(connect: Callable[..., Api], closed_port: str, chunk_size: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).stream(10, chunk_size=chunk_size)
    _check(caught.value, "chunk_size", f"is {chunk_size}; expected")


@pytest.mark.parametrize(("argument", "description", "images"), BAD_IMAGES)
def test_bad_images(
    connect: Callable[..., Api], closed_port: str, argument: str, description: str, images: Any
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).score(images, 1)
    _check(caught.value, argument, description)


def test_a_file_that_is_not_a_picture(connect: Callable[..., Api], closed_port: str, tmp_path: Any) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).score(path)
    _check(caught.value, "images", "cannot be read as a picture")


def test_score_checks_labels_as_sample_does(connect: Callable[..., Api], closed_port: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).score(np.zeros((3, 8, 8, 1), np.uint8), [1, 2])
    _check(caught.value, "label", "has 2 entries; expected one label for all, or one for each of the 3 samples")


@pytest.mark.parametrize(("name", "version", "argument"), [("", None, "name"), (3, None, "name"), ("x", 0, "version")])
def test_bad_names_of_models(
    connect: Callable[..., Api], closed_port: str, name: Any, version: Any, argument: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(closed_port).model(name, version)
    assert caught.value.violations[0].field == argument


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in methods - {"target"}:
        blocking, asynchronous = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
        assert str(blocking.return_annotation) in str(asynchronous.return_annotation), name
        parameters, others = dict(blocking.parameters), dict(asynchronous.parameters)
        if name == "score_stream":  # AsyncClient also takes asynchronous iterables
            assert str(parameters.pop("images").annotation) in str(others.pop("images").annotation)
        assert parameters == others, name
    for one, other in ((SampleStream, AsyncSampleStream), (ScoreStream, AsyncScoreStream)):
        assert {name for name in dir(one) if not name.startswith("_")} == {
            name for name in dir(other) if not name.startswith("_")
        }


def _check(error: InvalidRequest, argument: str, description: str) -> None:
    assert [violation.field for violation in error.violations] == [argument]
    assert description in error.violations[0].description
    assert str(error).startswith(f"{argument}: ")
    assert error.code is None
    assert error.request_id is None


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("label", {"label": "\ud800"}),
        ("label[1]", {"label": ["a", "\udcff"]}),
        ("model", {"model": "m\ud800"}),
        ("controls", {"controls": {"\ud800": 1.0}}),
    ],
)
def test_text_that_is_not_unicode_is_refused(argument: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="which is not valid Unicode") as caught:
        sample_request(2, **arguments)
    assert [violation.field for violation in caught.value.violations] == [argument]
    str(caught.value).encode()


def test_drawn_seeds_are_numbers_of_json() -> None:
    seeds = [sample_request(1).seed for _ in range(200)]
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert max(seeds) > 2**50
    assert len(set(seeds)) == 200
