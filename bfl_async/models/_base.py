"""The root of all request classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from bfl_async.errors import InvalidRequestError
from bfl_async.models._numbers import plain_number
from bfl_async.models._order import in_order
from bfl_async.models.headers import image_size, is_turned
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import Media, MediaRule, head_of, is_heavy, load, shown
from bfl_async.models.open_values import ExtraBody, dump_extra_body, load_open, take_extra_body
from bfl_async.runtime import lazy
from bfl_async.types.common import JSON

EXTRA_BODY = "extra_body"
WEBHOOK_FIELDS = frozenset({"webhook_url", "webhook_secret"})

ExtraFields = SkipJsonSchema[
    Annotated[
        Mapping[str, object] | None,
        PlainValidator(take_extra_body),
        # Only for who dumps a request by himself: a request's body is made by `extra_json`.
        PlainSerializer(dump_extra_body),
    ]
]


class ImageRequest(BaseModel):
    """One generation, checked on this side. Frozen; fields left out are not sent.

    Attributes:
        extra_body: Fields, values and bounds that this release does not know: sent unchecked and unchanged, merged
            last, so that one may replace a field. A file may stand where its base64 belongs.
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

    extra_body: ExtraFields = Field(default=None, repr=False)

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        return self.endpoint.removeprefix("/v1/")

    @property
    def has_files(self) -> bool:
        """True when `body` reads or encodes files: it then belongs in a worker thread."""
        return any(map(is_heavy, self.media().values())) or is_heavy(self.extra_body)

    @property
    def takes_webhook(self) -> bool:
        """True if the model's schema has the fields of a webhook."""
        return type(self).model_fields.keys() >= WEBHOOK_FIELDS

    @property
    def takes_prompt(self) -> bool:
        """True if the model's schema has a prompt."""
        return "prompt" in type(self).model_fields

    @property
    def given_prompt(self) -> object:
        """The prompt that was given; None without one. What `extra_body` has is not looked at."""
        return vars(self).get("prompt") if "prompt" in self.model_fields_set else None

    def media(self) -> dict[str, object]:
        """Return the images and videos that were given, by field."""
        rules, given = media_rules(type(self)), self.model_fields_set
        if rules.keys().isdisjoint(given):
            return {}
        return {name: getattr(self, name) for name in rules if name in given}

    def with_extra_body(self, extra_body: Mapping[str, object] | None) -> Self:
        """Return a copy whose `extra_body` has these fields as well; of two values for a field, this one counts.

        Raises:
            InvalidRequestError: A value is neither JSON nor a file.
        """
        try:
            taken = take_extra_body(extra_body)
        except PydanticCustomError as exc:
            raise self._unfit(EXTRA_BODY, exc.message()) from exc
        if taken is None:
            return self
        return self.model_copy(update={EXTRA_BODY: ExtraBody({**(self.extra_body or {}), **taken})})

    def body(self) -> Mapping[str, JSON]:
        """Return the JSON body: the fields that were given, files as base64, and then `extra_body`.

        Reads each `Path` anew; blocks.

        Raises:
            InvalidRequestError: A file cannot be read, or does not fit; nothing was sent.
        """
        extra = self.extra_json()
        own = self.own_body()
        return {**own, **extra} if extra else own

    def extra_json(self) -> dict[str, JSON]:
        """Return `extra_body` as it is sent, files as base64. Blocks.

        Raises:
            InvalidRequestError: A file cannot be read, or is too large; nothing was sent.
        """
        return self._encoded(
            self.extra_body or {}, lambda _, value: load_open(value), within=f"{EXTRA_BODY}."
        )

    def own_body(self) -> Mapping[str, JSON]:
        """Return the body without `extra_body`. Blocks.

        Raises:
            InvalidRequestError: As `body`.
        """
        media = self.media()
        body = self.model_dump(mode="json", exclude_unset=True, exclude={*media, EXTRA_BODY})
        for name in self.always_sent:
            body[name] = getattr(self, name)
        rules = media_rules(type(self))
        body.update(self._encoded(media, lambda name, value: _sent(value, rules[name])))
        if self.same_size is not None and (problem := size_problem(*map(media.get, self.same_size))):
            raise self._unfit(self.same_size[1], problem)
        return cast("Mapping[str, JSON]", body)

    @model_validator(mode="before")
    @classmethod
    def _read_numbers(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        whole, numeric = number_fields(cls)
        changed = {
            name: number
            for name in numeric & given.keys()
            if (number := plain_number(value := given[name], whole=name in whole)) is not value
        }
        return {**given, **changed} if changed else given

    def _encoded(
        self, given: Mapping[str, object], encode: Callable[[str, object], JSON], *, within: str = ""
    ) -> dict[str, JSON]:
        """Return the fields as they stand in a body; an error names the field, behind `within`."""
        made: dict[str, JSON] = {}
        for name, value in given.items():
            try:
                made[name] = encode(name, value)
            except MediaProblem as exc:
                raise self._unfit(f"{within}{name}", str(exc)) from exc
        return made

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
            yield name, Shown(shown(value))
        if self.extra_body is not None:
            yield EXTRA_BODY, self.extra_body

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # One that an earlier release pickled has no such field.
        super().__setstate__({**state, "__dict__": {EXTRA_BODY: None, **(state.get("__dict__") or {})}})


class Shown(str):
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


def field_of(item: object, name: str) -> object:
    """Return the value that a request sends in a field: that of `extra_body`, if it has one. None without one."""
    extra = getattr(item, EXTRA_BODY, None)
    return extra[name] if extra is not None and name in extra else getattr(item, name, None)


def known_names(cls: type[ImageRequest]) -> list[str]:
    """Return the names of the fields that a class sends, those of the API, with those that people set most first."""
    return in_order(name for name in cls.model_fields if name != EXTRA_BODY)


def invalid_request(model: str, exc: ValidationError, known: Iterable[str]) -> InvalidRequestError:
    """Translate pydantic's error; its input values stay out of the text."""
    errors: list[tuple[str, str]] = []
    for item in exc.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"]) or "request"
        message = item["msg"]
        if item["type"] == "extra_forbidden":
            about = lazy.load("models._unknown")
            message = about.no_such_field(model, path, tuple(known), where=" in this release")
        errors.append((path, message))
    text = "; ".join(f"{path}: {message}" for path, message in errors)
    return InvalidRequestError(f"invalid request for {model}: {text}", errors=errors)
