"""The root of all request classes."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bfl_async.errors import InvalidRequestError
from bfl_async.models.headers import image_size, is_turned
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import Media, MediaRule, head_of, is_heavy, load, shown
from bfl_async.types.common import JSON


class ImageRequest(BaseModel):
    """One generation, checked on this side. Frozen; fields left out are not sent.

    Raises:
        pydantic.ValidationError: A field is unknown, of the wrong type, or out of its bounds. The client's
            calls and `request()` raise `InvalidRequestError` from it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,  # JSON has no word for them
        hide_input_in_errors=True,  # an error's text must not show prompts and images
        protected_namespaces=(),
        defer_build=True,  # a validator is built when the first request of its class is made
    )

    endpoint: ClassVar[str]
    always_sent: ClassVar[tuple[str, ...]] = ()  # fields that the class itself states, such as the mode
    same_size: ClassVar[tuple[str, str] | None] = None  # two images that must have the same size in px

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        return self.endpoint.removeprefix("/v1/")

    @property
    def has_files(self) -> bool:
        """True when `body` reads or encodes files: it then belongs in a worker thread."""
        return any(map(is_heavy, self.media().values()))

    def media(self) -> dict[str, object]:
        """Return the images and videos that were given, by field."""
        rules, given = media_rules(type(self)), self.model_fields_set
        if rules.keys().isdisjoint(given):
            return {}
        return {name: getattr(self, name) for name in rules if name in given}

    def body(self) -> Mapping[str, JSON]:
        """Return the JSON body: the fields that were given, files as base64. Reads each `Path` anew; blocks.

        Raises:
            InvalidRequestError: A file cannot be read, or does not fit; nothing was sent.
        """
        media = self.media()
        body = self.model_dump(mode="json", exclude_unset=True, exclude=set(media))
        for name in self.always_sent:
            body[name] = getattr(self, name)
        for name, value in media.items():
            try:
                body[name] = _sent(value, media_rules(type(self))[name])
            except MediaProblem as exc:
                raise self._unfit(name, str(exc)) from exc
        if self.same_size is not None and (problem := size_problem(*map(media.get, self.same_size))):
            raise self._unfit(self.same_size[1], problem)
        return cast("Mapping[str, JSON]", body)

    @model_validator(mode="before")
    @classmethod
    def _read_numbers(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        whole, numeric = number_fields(cls)
        # Of an unknown model no field's type is known, so a whole float may be meant as it is.
        names = given if cls.model_config.get("extra") == "allow" else numeric & given.keys()
        changed = {
            name: number
            for name in names
            if (number := plain_number(value := given[name], whole=name in whole)) is not value
        }
        return {**given, **changed} if changed else given

    def _unfit(self, name: str, problem: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"invalid request for {self.model}: {name}: {problem}", errors=[(name, problem)]
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        # One that failed its checks has no fields yet, and a traceback with local variables shows its repr.
        given = getattr(self, "__pydantic_fields_set__", None)
        if given is None:
            return
        for name, value in super().__repr_args__():
            if name in given:
                yield name, value
        for name, value in self.media().items():
            yield name, _Shown(shown(value))


class _Shown(str):
    """A text that is its own repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _sent(value: object, rule: MediaRule) -> JSON:
    """A media field's value as it stands in the body: a text, or a list of texts and times."""
    if isinstance(value, tuple | list):
        return [_sent(item, rule) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return load(cast("Media", value), rule)


def size_problem(first: object, second: object) -> str | None:
    """Return what is wrong with two images that must have the same size; None if nothing is, or none is known.

    A photo may be stored on its side, with a tag that says so. Whether the other image was made for it as it is stored
    or as it is shown, is for the server to judge.
    """
    if not isinstance(first, Media) or not isinstance(second, Media):
        return None
    heads = head_of(first), head_of(second)
    sizes = image_size(heads[0]), image_size(heads[1])
    if None in sizes or sizes[0] == sizes[1]:
        return None
    (width, height), (other_width, other_height) = cast("tuple[tuple[int, int], tuple[int, int]]", sizes)
    if (width, height) == (other_height, other_width) and any(map(is_turned, heads)):
        return None
    return f"has {other_width} x {other_height} px, but the image has {width} x {height} px"


# Beyond this, a float may stand for several whole numbers.
_MAX_EXACT = 2**53


def plain_number(value: object, *, whole: bool) -> object:
    """Return a number as Python's own `int` or `float`; anything else, `bool` included, as it is.

    JSON knows one kind of number, and tools for data write 42 as 42.0 or as a type of their own.

    Args:
        whole: Return a float without a fraction as an `int`.
    """
    if isinstance(value, bool | int):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if not isinstance(value, numbers.Real):
        return value
    try:
        number = float(value)
    except OverflowError:
        return value
    return int(number) if whole and abs(number) <= _MAX_EXACT and number.is_integer() else number


@functools.cache
def number_fields(cls: type[ImageRequest]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the fields of a class that take whole numbers alone, and those that take numbers at all."""
    types = {name: set(_types_in(field.annotation)) for name, field in cls.model_fields.items()}
    numeric = frozenset(name for name, of in types.items() if of & {int, float})
    return frozenset(name for name in numeric if float not in types[name]), numeric


def _types_in(annotation: object) -> Iterable[object]:
    if get_origin(annotation) is Literal:
        return map(type, get_args(annotation))
    parts = get_args(annotation)
    return [found for part in parts for found in _types_in(part)] if parts else [annotation]


@functools.cache
def media_rules(cls: type[ImageRequest]) -> dict[str, MediaRule]:
    """Return the fields of a class that take an image or a video, with their bounds."""
    rules = {}
    for name, field in cls.model_fields.items():
        rule = _rule_in([*field.metadata, field.annotation])
        if rule is not None:
            rules[name] = rule
    return rules


def _rule_in(parts: Iterable[object]) -> MediaRule | None:
    for part in parts:
        if isinstance(part, MediaRule):
            return part
        found = _rule_in((*getattr(part, "__metadata__", ()), *getattr(part, "__args__", ())))
        if found is not None:
            return found
    return None


def invalid_request(model: str, exc: ValidationError, known: Iterable[str]) -> InvalidRequestError:
    """Translate pydantic's error; its input values stay out of the text."""
    errors: list[tuple[str, str]] = []
    for item in exc.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"]) or "request"
        message = item["msg"]
        if item["type"] == "extra_forbidden":
            message = f"{model} has no such field; it takes {', '.join(known)}"
        errors.append((path, message))
    text = "; ".join(f"{path}: {message}" for path, message in errors)
    return InvalidRequestError(f"invalid request for {model}: {text}", errors=errors)
