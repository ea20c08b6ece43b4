"""What each check finds at the sandbox: what this release believes of the API.

A row of the report that differs from this at the API is a fact to correct here, in the sandbox and in the catalog.
"""

from __future__ import annotations

from tests.live.visit import Facts

_ONE_IMAGE: Facts = {
    "the image's size is what was asked for": True,
    "a cost is stated": True,
    "the cost is the estimate's": True,
    "the balance fell by the cost at once": True,
    "a seed is told": True,
    "the prompt is rewritten just where upsampling is on": True,
}
_FIELD_BOUNDS: Facts = {
    # 0 to 7 by a client's release notes of 15 October 2026, 0 to 4 by a digest of BFL's pages of 8 October 2026.
    "safety_tolerance 99": "Input should be less than or equal to 7",
    "safety_tolerance -1": "Input should be greater than or equal to 0",
    "resolution 9k": "Input should be '768sq', '1k', '1.5k', '2k' or '4k'",
}
_NO_FIELD = "Extra inputs are not permitted"


def _price(catalog: float | str, billed: float, kind: str = "image/jpeg", *, at_submit: bool = True) -> Facts:
    return {
        "credits by the catalog": catalog,
        "credits by the receipt": billed if at_submit else None,
        "credits in the end": billed,
        "kind of image": kind,
    }


EXPECTED: dict[str, Facts] = {
    "a malformed key": {
        "GET /v1/credits": "422 Invalid API key format",
        "POST {} to a model": "422 Invalid API key format",
        "POST {} to a path that is not a model's": "404 Not Found",
        "this release raises": "AuthenticationError",
        "its error has the server's request id": True,
    },
    "an unknown key": {
        "GET /v1/credits": "403 Not authenticated - Invalid Authentication",
        "POST {} to a model": "403 Not authenticated - Invalid Authentication",
        "POST {} to a path that is not a model's": "404 Not Found",
        "this release raises": "AuthenticationError",
        "its error has the server's request id": True,
    },
    "the free probe": {
        "POST {} to a model": "422 about prompt",
        "POST {} to a path that is not a model's": "404 Not Found",
        "GET /v1/credits": "200 -",
        # Recorded. An id of the request itself was not.
        "headers that may name an exchange": "x-azure-ref",
    },
    "an unknown task": {
        "an id that no task has": "404 Task not found",
        "the same with an unknown key": "404 Task not found",
        "an id that is not a UUID": "404 Task not found",
        "no id": "422 about id",
    },
    "the fields of flux-3-image": {
        "fields that it knows": "aspect_ratio, grounding, images, resolution, safety_tolerance, version",
        "fields that must be given": "prompt",
        "a field that it does not know": "refused",
        "width 1000000": _NO_FIELD,
        "width 1": _NO_FIELD,
        "steps 1000000": _NO_FIELD,
        "steps 0": _NO_FIELD,
        **_FIELD_BOUNDS,
    },
    "the fields of flux-3-image-klein": {
        "fields that it knows": (
            "aspect_ratio, grounding, height, images, output_format, resolution, safety_tolerance, seed, steps, user, "
            "version, webhook_secret, webhook_url, width"
        ),
        "fields that must be given": "prompt",
        "a field that it does not know": "ignored",
        "width 1000000": "accepted",
        "width 1": "accepted",
        "steps 1000000": "accepted",
        "steps 0": "Input should be greater than or equal to 1",
        **_FIELD_BOUNDS,
    },
    "one image of flux-2-klein-4b": _ONE_IMAGE,
    "one image of flux-2-pro": _ONE_IMAGE,
    "one image of flux-pro-1.1": _ONE_IMAGE,
    "a task at close range": {
        "seconds for which it was not found": 0.0,
        "asked for by its id at the base URL": "200 Ready",
        "asked for with an unknown key": "200 Ready",
        "another poll gives": "a URL that is signed anew",
        "which ends": "later",
        "the older URL still gives": 200,
        "a URL lasts about": "10 minutes",
    },
    "a moderated prompt": {
        "it was refused": True,
        "stage": "request",
        "reasons are told": True,
        "the cost in its last poll": 0.0,
        "credits that it took": 0.0,
    },
    "a webhook that leads nowhere": {
        "the answer to its submit has": "cost, id, input_mp, output_mp, status, webhook_url",
        "its status is": "Pending",
        "its end was found by": "its id",
        "a cost is stated": True,
    },
    "an end by webhook": {
        "what proves a delivery": "x-webhook-secret: the secret",
        "a delivery has": "details, id, preview, progress, result, status",
        "its status is": "Ready",
        "a seed is told": True,
        "deliveries": 1,
        "refused deliveries": 0,
    },
    "odd megapixels of flux-2-klein-4b": {
        "credits by the receipt": 1.425,
        "credits in the end": 1.425,
        "megapixels are": "fractional",
        "the receipt's output_mp": 1.25,
    },
    "odd megapixels of flux-2-pro": {
        "credits by the receipt": 3.375,
        "credits in the end": 3.375,
        "megapixels are": "fractional",
        "the receipt's output_mp": 1.25,
    },
    "odd megapixels of an input image": {
        "credits by the receipt": 1.525,
        "credits in the end": 1.525,
        "the receipt's input_mp": 1.25,
    },
    # Where the catalog knows no price the sandbox has one of its own.
    "the price of flux-2-klein-9b": _price(1.5, 1.5),
    "the price of flux-2-klein-9b-preview": _price("unknown", 1.5),
    "the price of flux-2-pro-preview": _price("unknown", 3.0),
    "the price of flux-2-flex": _price(5.0, 5.0),
    "the price of flux-dev": _price("unknown", 2.5, at_submit=False),
    "the price of flux-3-image-klein": _price(0.9, 0.9, "image/png"),
    "the price of flux-3-image": _price(4.1, 4.1, "image/png"),
    "the price of flux-pro-1.0-expand": _price("unknown", 5.0),
    "the price of flux-tools/deblur-v1": _price("unknown", 5.0, "image/png"),
    "more than the limit": {
        "one too many is answered": "429 Too many active tasks",
        "with a Retry-After": False,
        # The guide's figure. Newer pages have 24.
        "tasks that were accepted": 12,
        "no answer was lost": True,
        "all that was accepted came home": True,
    },
}
