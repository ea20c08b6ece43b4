"""Whole numbers are whole numbers, whichever tool wrote them; what is not a number stays an error."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import pytest

from bfl_async import FluxDev, InvalidRequestError, request
from bfl_async.types import JSON
from tests.media import png


class Int64:
    """An integer as libraries for arrays have it: registered as one, and no `int`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


class Float32:
    """The same for floats."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class UInt8:
    """An integer that is not registered as one: it has `__index__` alone."""

    def __index__(self) -> int:
        return 8


class Tensor:
    """A number in an array of no dimension, or several numbers."""

    def __init__(self, value: float, ndim: int = 0) -> None:
        self.value = value
        self.ndim = ndim

    def __float__(self) -> float:
        return self.value


class BFloat16Bool(Tensor):
    """A truth value of an array: a number to Python, and not to JSON."""

    dtype = "torch.bool"


def body_of(model: str, **fields: object) -> Mapping[str, JSON]:
    return request(model, **fields).body()


numbers.Integral.register(Int64)
numbers.Real.register(Float32)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (7.0, 7), (-0.0, 0), (-3.0, -3), (2.0**53, 2**53), (Int64(9), 9), (Float32(6.0), 6), (5, 5), (UInt8(), 8),
        (Tensor(4.0), 4),
    ],
)  # fmt: skip
def test_a_whole_number_is_sent_as_one(given: object, sent: int) -> None:
    """By every way to make a request."""
    made = FluxDev.model_validate({"prompt": "x", "seed": given})
    for body in (body_of("flux-dev", prompt="x", seed=given), made.body()):
        assert (body["seed"], type(body["seed"])) == (sent, int)


@pytest.mark.parametrize(
    "given",
    [
        7.5, True, "7", "7.0", float("nan"), float("-inf"), 1e300, 2.0**60, Decimal(7), Float32(0.5),
        Fraction(10**400), [7], b"7", Tensor(4.0, ndim=1), BFloat16Bool(1.0),
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_whole_number_is_refused(given: object) -> None:
    """A float beyond 2**53 may stand for several; a text or a bool is a mistake."""
    with pytest.raises(InvalidRequestError, match="seed: Input should be"):
        request("flux-dev", prompt="x", seed=given)  # type: ignore[arg-type]  # wrong on purpose


def test_bounds_hold_for_whole_floats() -> None:
    """They are the same number, in the range or not."""
    assert body_of("flux-pro-1.1", prompt="x", width=512.0)["width"] == 512
    with pytest.raises(InvalidRequestError, match="width"):
        request("flux-pro-1.1", prompt="x", width=500.0)  # type: ignore[arg-type]  # wrong on purpose


def test_choices_of_whole_numbers_take_them_as_well() -> None:
    """A field that names its few numbers is a field of whole numbers."""
    body = body_of("flux-tools/video-upscale-v1", input_video="https://h.example/v.mp4", creativity=1.0)
    assert repr(body["creativity"]) == "1"


def test_other_numbers_keep_their_fraction() -> None:
    """A field for any number takes those of other libraries, and so does the time of a keyframe."""
    assert body_of("flux-dev", prompt="x", guidance=Float32(2.5))["guidance"] == 2.5
    body = body_of(
        "flux-3-video",
        mode="i2v",
        prompt="x",
        keyframes=[(Int64(0), png(512, 512)), (Float32(1.5), png(512, 512))],
    )
    frames = body["keyframes"]
    assert isinstance(frames, list)
    assert [frame[0] for frame in frames if isinstance(frame, list)] == [0, 1.5]


def test_an_unknown_models_numbers_are_sent_as_they_are_meant() -> None:
    """Nothing is known of its fields: a float stays one, and a number of another library becomes Python's."""
    with pytest.warns(UserWarning, match="catalog"):
        body = body_of("flux-9-numbers", a=4.0, b=Int64(3), c=Float32(0.5), d=True)
    assert repr(dict(body)) == "{'a': 4.0, 'b': 3, 'c': 0.5, 'd': True}"
