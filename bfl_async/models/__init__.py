"""Request classes by family, and the catalog. A family's module is imported when a class of it is first used."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from bfl_async.errors import InvalidRequestError
from bfl_async.models._base import EXTRA_BODY, invalid_request, known_names
from bfl_async.models._base import ImageRequest as ImageRequest
from bfl_async.models._endpoints import check_makes_task as check_makes_task
from bfl_async.models._endpoints import check_model_name as check_model_name
from bfl_async.models._endpoints import check_name
from bfl_async.models._numbers import plain_number as plain_number
from bfl_async.models.catalog import CATALOG as CATALOG
from bfl_async.models.catalog import ModelInfo as ModelInfo
from bfl_async.models.catalog import model_info as model_info
from bfl_async.runtime.lazy import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from bfl_async.models._typed import RequestCalls
    from bfl_async.models.passthrough import PassThroughRequest as PassThroughRequest

# Written by `python -m bfl_async.models._generate`, up to the next comment.
if TYPE_CHECKING:
    from bfl_async.models.flux1 import FluxDev as FluxDev
    from bfl_async.models.flux1 import FluxPro11 as FluxPro11
    from bfl_async.models.flux1 import FluxPro11Ultra as FluxPro11Ultra
    from bfl_async.models.flux1 import FluxPro11UltraFinetuned as FluxPro11UltraFinetuned
    from bfl_async.models.flux1_edit import FluxKontextMax as FluxKontextMax
    from bfl_async.models.flux1_edit import FluxKontextPro as FluxKontextPro
    from bfl_async.models.flux1_edit import FluxProExpand as FluxProExpand
    from bfl_async.models.flux1_edit import FluxProFill as FluxProFill
    from bfl_async.models.flux1_edit import FluxProFillFinetuned as FluxProFillFinetuned
    from bfl_async.models.flux2 import Flux2Flex as Flux2Flex
    from bfl_async.models.flux2 import Flux2Klein4B as Flux2Klein4B
    from bfl_async.models.flux2 import Flux2Klein4BFinetuned as Flux2Klein4BFinetuned
    from bfl_async.models.flux2 import Flux2Klein9B as Flux2Klein9B
    from bfl_async.models.flux2 import Flux2Klein9BFinetuned as Flux2Klein9BFinetuned
    from bfl_async.models.flux2 import Flux2Klein9BKVBF16Finetuned as Flux2Klein9BKVBF16Finetuned
    from bfl_async.models.flux2 import Flux2Klein9BKVFinetuned as Flux2Klein9BKVFinetuned
    from bfl_async.models.flux2 import Flux2Klein9BPreview as Flux2Klein9BPreview
    from bfl_async.models.flux2 import Flux2KleinBase4BFinetuned as Flux2KleinBase4BFinetuned
    from bfl_async.models.flux2 import Flux2KleinBase9BFinetuned as Flux2KleinBase9BFinetuned
    from bfl_async.models.flux2 import Flux2Max as Flux2Max
    from bfl_async.models.flux2 import Flux2Pro as Flux2Pro
    from bfl_async.models.flux2 import Flux2ProPreview as Flux2ProPreview
    from bfl_async.models.flux3 import Flux3Image as Flux3Image
    from bfl_async.models.flux3 import Flux3ImageKlein as Flux3ImageKlein
    from bfl_async.models.flux3 import Flux3Video as Flux3Video
    from bfl_async.models.flux3 import Flux3VideoDraftEnhance as Flux3VideoDraftEnhance
    from bfl_async.models.flux3 import Flux3VideoI2V as Flux3VideoI2V
    from bfl_async.models.flux3 import Flux3VideoT2V as Flux3VideoT2V
    from bfl_async.models.flux3 import Flux3VideoV2V as Flux3VideoV2V
    from bfl_async.models.retired import FluxPro as FluxPro
    from bfl_async.models.retired import FluxProCanny as FluxProCanny
    from bfl_async.models.retired import FluxProCannyFinetuned as FluxProCannyFinetuned
    from bfl_async.models.retired import FluxProDepth as FluxProDepth
    from bfl_async.models.retired import FluxProDepthFinetuned as FluxProDepthFinetuned
    from bfl_async.models.retired import FluxProFinetuned as FluxProFinetuned
    from bfl_async.models.tools import DeblurV1 as DeblurV1
    from bfl_async.models.tools import EraseV1 as EraseV1
    from bfl_async.models.tools import OutpaintingV1 as OutpaintingV1
    from bfl_async.models.tools import VideoEditV1 as VideoEditV1
    from bfl_async.models.tools import VideoUpscaleV1 as VideoUpscaleV1
    from bfl_async.models.tools import VirtualTryOnV1 as VirtualTryOnV1
    from bfl_async.models.tools import VirtualTryOnV2 as VirtualTryOnV2
# End of what is generated.

_MODULES = {
    "FLUX.1": "flux1",
    "FLUX.1 editing": "flux1_edit",
    "FLUX.2": "flux2",
    "FLUX.3": "flux3",
    "FLUX tools": "tools",
}


def _home(row: ModelInfo) -> str:
    return "retired" if row.state == "retired" else _MODULES[row.family]


_HOMES = {cls: _home(row) for row in CATALOG.values() for cls in row.classes} | {
    "Flux3Video": "flux3",
    "PassThroughRequest": "passthrough",
}


def __getattr__(name: str) -> object:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(load(f"models.{module}"), name)
    globals()[name] = value
    return value


_warned: set[str] = set()  # models that were warned of; written by _warn_once() only


@functools.cache
def _known_classes(model: str) -> tuple[type[ImageRequest], ...]:
    row = CATALOG[model]
    home = load(f"models.{_home(row)}")
    return tuple(getattr(home, cls) for cls in row.classes)


def request_classes(model: str) -> tuple[type[ImageRequest], ...]:
    """Return the request classes of a model, imported now; none for a model that the catalog does not know."""
    return _known_classes(model) if model in CATALOG else ()


def _class_for(model: str, fields: Mapping[str, object]) -> type[ImageRequest] | None:
    """The class that a model's fields are for; of several, the one with the given mode. None: they are not checked."""
    classes = request_classes(model)
    if len(classes) < 2:
        return classes[0] if classes else None
    modes = {mode: cls for cls in classes for mode in _modes_of(cls)}
    mode = fields.get("mode")
    extra = _names_in(fields)
    if "mode" in extra:
        # A mode that this release does not know is one of the things that may be sent so.
        mode = extra["mode"]
        if not isinstance(mode, str) or mode not in modes:
            return None
    if not isinstance(mode, str) or mode not in modes:
        problem = (
            f"is required: one of {', '.join(modes)}" if mode is None else f"is not one of {', '.join(modes)}"
        )
        raise InvalidRequestError(f"invalid request for {model}: mode: {problem}", errors=[("mode", problem)])
    return modes[mode]


def _names_in(fields: Mapping[str, object]) -> Mapping[str, object]:
    extra = fields.get(EXTRA_BODY)
    return cast("Mapping[str, object]", extra) if isinstance(extra, Mapping) else {}


def _is_left_to_extra(exc: ValidationError, fields: Mapping[str, object]) -> bool:
    """Return whether all that a class misses is in `extra_body`, in a form that it may not know."""
    extra = _names_in(fields)
    return bool(extra) and all(
        item["type"] == "missing" and item["loc"][:1] and item["loc"][0] in extra
        for item in exc.errors(include_url=False, include_context=False, include_input=False)
    )


def _modes_of(cls: type[ImageRequest]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", getattr(cls.model_fields["mode"].annotation, "__args__", ()))


def _typed(function: Callable[..., ImageRequest]) -> RequestCalls:
    """Give `request` its typed face: one overload a model."""
    return cast("RequestCalls", function)


@_typed
def request(model: str, /, **fields: object) -> ImageRequest:
    """Make a request by its model's name.

    A name that the catalog does not know is sent as it is, with one warning: the API gets new models more
    often than this package gets releases. A retired model is warned of once as well. Endpoints that make no
    image or video, such as the one that deletes a finetune, are refused here. Check a name that a user of your
    application supplies against `CATALOG` all the same: it decides what you pay for.

    Args:
        model: The path after `/v1/`, such as `flux-pro-1.1`.
        fields: The model's fields; those left out are not sent. `extra_body` has those that this release does not
            know or would refuse: they are sent unchecked, merged last. A file may stand where base64 belongs, in it
            and in any field of a model that is not known.
    Raises:
        InvalidRequestError: The name is not a model's, or a field does not fit; nothing was sent.
    """
    name = model if isinstance(model, str) and model in CATALOG else check_model_name(model)
    made = _made(name, fields)
    if name in CATALOG:
        _warn_if_retired(name)
    else:
        _warn_of_unknown(name)
    return made


def _made(name: str, fields: Mapping[str, object]) -> ImageRequest:
    cls = _class_for(name, fields)
    if cls is not None:
        try:
            return cls.model_validate(fields)
        except ValidationError as exc:
            if not _is_left_to_extra(exc, fields):
                raise invalid_request(name, exc, known_names(cls)) from exc
    try:
        return _pass_through(name, fields)
    except ValidationError as exc:
        raise invalid_request(name, exc, ()) from exc


def _pass_through(name: str, fields: Mapping[str, object]) -> ImageRequest:
    made: ImageRequest = load("models.passthrough").PassThroughRequest.named(name, fields)
    return made


def endpoint_request(path: object, fields: object) -> ImageRequest:
    """Make a request for any endpoint of the API, known or not; its fields are checked by the server alone.

    Args:
        path: From `/v1/` on.
        fields: The JSON body.
    Raises:
        InvalidRequestError: The path is none, or a value is no JSON.
    """
    if not isinstance(path, str) or not path.startswith("/v1/"):
        problem = "does not begin with '/v1/'"
        raise InvalidRequestError(f"the path {problem}", errors=[("path", problem)])
    name = check_name(path.removeprefix("/v1/"))
    if not isinstance(fields, Mapping):
        problem = f"is {type(fields).__name__} and no mapping"
        raise InvalidRequestError(f"the body {problem}", errors=[("json", problem)])
    try:
        # A body may have a field of any name.
        return _pass_through(name, {EXTRA_BODY: fields} if EXTRA_BODY in fields else fields)
    except ValidationError as exc:
        raise invalid_request(name, exc, ()) from exc


def _warn_of_unknown(name: str) -> None:
    if name not in _warned:
        meant = load("runtime.near").suggestion(name, CATALOG)
        told = f"{meant} Its" if meant else ": its"
        _warn_once(name, UserWarning, f"is not in this release's catalog{told} fields are sent unchecked")


def _warn_if_retired(name: str) -> None:
    row = CATALOG.get(name)
    if row is not None and row.state == "retired":
        _warn_once(name, FutureWarning, f"is retired by BFL and may stop working: use {row.replaced_by!r}")


def _warn_once(name: str, category: type[Warning], what: str) -> None:
    if name not in _warned and len(_warned) < 1000:
        _warned.add(name)
        warnings.warn(f"the model {name!r} {what}", category, stacklevel=_frames_to_the_caller())


def _frames_to_the_caller() -> int:
    """Return the `stacklevel` of the first frame outside this package: the line that named the model."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "bfl_async":
        frame = frame.f_back
        level += 1
    return level


def as_request(item: object) -> ImageRequest:
    """Return `item` if it is a request.

    Raises:
        InvalidRequestError: It is something else.
    """
    if isinstance(item, ImageRequest):
        name = getattr(item, "model", None)
        if name not in CATALOG:
            check_model_name(name)  # a class of the caller's own may say anything
        else:
            _warn_if_retired(name)
        return item
    raise InvalidRequestError(
        f"not a request but {type(item).__name__}: pass a request class, or request('flux-pro-1.1', prompt=...)",
        errors=[("request", f"is a {type(item).__name__}")],
    )


def takes_webhook(item: object) -> bool:
    """True for a request whose schema has the fields of a webhook; of one that is not known, nobody can say."""
    return isinstance(item, ImageRequest) and item.takes_webhook
