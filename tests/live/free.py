"""Checks that cost nothing: each call is refused, or asks for what is there."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from bfl_async import ImageRequest
from tests.live.visit import CHEAPEST, Check, Facts, Visit, bound_of, errors_of, said

_SUBMIT = f"/v1/{CHEAPEST}"
_NO_ROUTE = "/v1/no-such-model"
_NAMES_EXCHANGE = re.compile(r"\bid\b|request|trace|ref\b|ray|correlation", re.IGNORECASE)
# A value that is wrong for a field of any type.
_WRONG = {"neither": ["a", "number", "nor", "a", "text"]}
_CANDIDATES = (
    *("images", "input_image", "input_images", "image_prompt", "width", "height", "aspect_ratio", "resolution"),
    *("steps", "guidance", "seed", "safety_tolerance", "output_format", "grounding", "version", "prompt_upsampling"),
    *("disable_pup", "user", "webhook_url", "webhook_secret", "num_images"),
)  # fmt: skip
_NO_FIELD = "no_such_field"


async def _a_key(visit: Visit, key: str) -> Facts:
    raised, has_request_id = await visit.error_with(key)
    return {
        "GET /v1/credits": said(await visit.ask("/v1/credits", key, None)),
        "POST {} to a model": said(await visit.ask(_SUBMIT, key, {})),
        "POST {} to a path that is not a model's": said(await visit.ask(_NO_ROUTE, key, {})),
        "this release raises": raised,
        "its error has the server's request id": has_request_id,
    }


async def a_malformed_key(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Use a text that is not a key by its form."""
    return await _a_key(visit, "malformed")


async def an_unknown_key(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Use a key of the right form that no account has."""
    return await _a_key(visit, "unknown")


async def the_free_probe(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Send an empty body with the right key: `doctor` relies on the answer."""
    refused = await visit.ask(_SUBMIT, "right", {})
    return {
        "POST {} to a model": said(refused),
        "POST {} to a path that is not a model's": said(await visit.ask(_NO_ROUTE, "right", {})),
        "GET /v1/credits": said(await visit.ask("/v1/credits", "right", None)),
        "headers that may name an exchange": ", ".join(
            sorted(name.lower() for name in refused.headers if _NAMES_EXCHANGE.search(name))
        ),
    }


async def an_unknown_task(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Ask for tasks that do not exist."""
    path = "/v1/get_result"
    unknown = f"{path}?id={uuid.uuid4()}"
    return {
        "an id that no task has": said(await visit.ask(unknown, "right", None)),
        "the same with an unknown key": said(await visit.ask(unknown, "unknown", None)),
        "an id that is not a UUID": said(await visit.ask(f"{path}?id=none", "right", None)),
        "no id": said(await visit.ask(path, "right", None)),
    }


async def the_fields_of(model: str, visit: Visit) -> Facts:
    """Send what is wrong in every field, and no prompt: the refusal names the fields that the model knows."""
    path = f"/v1/{model}"

    async def refused(body: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
        return errors_of(await visit.ask(path, "right", body))

    wrong = await refused(dict.fromkeys((*_CANDIDATES, _NO_FIELD), _WRONG))
    unknown = {name for name, error in wrong.items() if error.get("type") == "extra_forbidden"}
    too_much = await visit.ask(path, "right", {"safety_tolerance": 99, "width": 10**6, "steps": 10**6})
    too_little = await visit.ask(path, "right", {"safety_tolerance": -1, "width": 1, "steps": 0})
    return {
        "fields that it knows": ", ".join(sorted(wrong.keys() - unknown - {"prompt"})),
        "fields that must be given": ", ".join(sorted(await refused({}))),
        "a field that it does not know": "refused" if _NO_FIELD in unknown else "ignored",
        "safety_tolerance 99": bound_of(too_much, "safety_tolerance"),
        "safety_tolerance -1": bound_of(too_little, "safety_tolerance"),
        "width 1000000": bound_of(too_much, "width"),
        "width 1": bound_of(too_little, "width"),
        "steps 1000000": bound_of(too_much, "steps"),
        "steps 0": bound_of(too_little, "steps"),
        "resolution 9k": bound_of(await visit.ask(path, "right", {"resolution": "9k"}), "resolution"),
    }


async def flux_3_image(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Its safety tolerance ends at 4 or at 7, by the source."""
    return await the_fields_of("flux-3-image", visit)


async def flux_3_image_klein(visit: Visit, _requests: tuple[ImageRequest, ...]) -> Facts:
    """Its schema is not published."""
    return await the_fields_of("flux-3-image-klein", visit)


FREE = (
    Check("a malformed key", (), a_malformed_key),
    Check("an unknown key", (), an_unknown_key),
    Check("the free probe", (), the_free_probe),
    Check("an unknown task", (), an_unknown_task),
    Check("the fields of flux-3-image", (), flux_3_image),
    Check("the fields of flux-3-image-klein", (), flux_3_image_klein),
)
