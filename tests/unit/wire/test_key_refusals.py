"""Which 400 and 422 are about the key: what servers and gateways say of it, and what they say of a request."""

from __future__ import annotations

import pytest

from bfl_async import AuthenticationError, InvalidRequestError
from bfl_async.types import Reply
from bfl_async.wire.errors import status_error
from bfl_async.wire.redaction import HiddenTexts
from tests.fake import reply

ABOUT_THE_KEY = [
    "Invalid API key format",
    "Invalid API key",
    "invalid api key.",
    "API key is malformed",
    "Malformed API key",
    "API key format is invalid",
    "Your API key is not valid",
    "Your API key is invalid or has expired",
    "The API key provided is invalid. Get one at https://dashboard.bfl.ai/api/keys",
    "API key must start with 'bfl_'",
    'API key must begin with "bfl_" and have 40 characters',
    "API key has the wrong length: expected 36 characters, got 12",
    "API-Key header is malformed",
    "Missing API key",
    "API key missing",
    "API key required",
    "No API key provided",
    "No api_key supplied",
    "api_key is required",
    "Incorrect API key provided: sk-…. You can find your key in your dashboard.",
    "Invalid x-key header",
    "x-key header is missing",
    "Missing required header 'x-key'",
    "Missing header parameter: x-key",
    "The 'x-key' header is required",
    "X-Key must be a UUID or start with bfl_",
    "Invalid key",
    "Invalid key format",
    "Malformed key",
    "The key is malformed",
    "Key format invalid",
    "Bad key",
    "Not authenticated",
    "Not authenticated - Invalid Authentication",
    "Invalid authentication credentials",
    "Authentication failed: unknown key",
    "Authentication required",
    "Unauthorized",
    "Unauthorized: invalid token",
    "Invalid token",
    "Invalid bearer token",
    "Bearer token is missing",
    "Authorization header is malformed",
    "Authorization header missing or malformed",
    "Invalid credentials",
    "Could not validate credentials",
    "Invalid subscription key",
    "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription.",
    "API key expired",
    "API key has been revoked",
    "Your API key has been disabled",
    "API key not found",
    "Unknown API key",
    "Invalid APIKey",
    "INVALID_API_KEY",
    "invalid_api_key",
    "invalid_key_format",
    "\uff29\uff2e\uff36\uff21\uff2c\uff29\uff24 API key format",
    "This API key is not authorized",
    "The access token is invalid",
    "API key could not be parsed",
    "API key contains invalid characters",
    "API key contains illegal characters, check for spaces or quotes",
    "Invalid API key format. Expected format: bfl_xxxxxxxx",
    "API key is too short",
    "API key sk-\u2026 is invalid",
    "  Invalid\n API\tkey   format ",
]

ABOUT_THE_REQUEST = [
    "",
    "no",
    "invalid",
    "Invalid format",
    "Invalid image format",
    "Invalid output_format",
    "prompt is too long",
    "Prompt is required",
    "Unknown key 'aspect_ratio'",
    "Unknown key: aspect_ratio",
    "Invalid key 'foo' in request body",
    "Missing key 'prompt'",
    "Missing key: prompt",
    "Invalid keyframe",
    "Invalid key frame index",
    "Extra key not permitted: webhook",
    "webhook_secret is invalid",
    "webhook_url must be https",
    "The webhook's authorization header is invalid",
    "Could not fetch input_image: 401 Unauthorized",
    "Could not download https://example.com/a.png: Unauthorized",
    "Failed to load image: 403 Forbidden",
    "Image URL requires authentication",
    "The prompt must not contain an API key",
    "prompt: 'Invalid API key format' is not allowed",
    "Unsupported value 'my API key is invalid' for style",
    "width must be a multiple of 32",
    "api_key is not a permitted field",
    "Extra inputs are not permitted: api_key",
    "Unexpected property api_key",
    "Invalid token in prompt at position 3",
    "Too many tokens",
    "Prompt exceeds 512 tokens",
    "Invalid JSON",
    "JSON decode error: Expecting property name enclosed in double quotes",
    "invalid base64",
    "seed must be an integer",
    "Invalid value for safety_tolerance",
    "Content policy: sharing keys is forbidden",
    "Request Moderated",
    "The model flux-9 does not exist",
    "Access denied",
    "finetune_id not found",
    "Input image contains a malformed key chunk",
    "key must be one of: a, b",
    "user must have 1 to 256 characters",
    "Invalid character in string",
    "Output format not supported",
    "Unauthorized content",
    "Unauthorized use of a likeness",
    "Credentials in image metadata are not supported",
    "Not authorized to use this LoRA",
    "insufficient credits",
    "invalid aspect ratio",
    "invalid musical key",
    "Key color must be hex",
    "wrong key color",
    "Invalid API key format. " * 100,
]


def error_of(answer: Reply, prompt: str | None = None) -> Exception:
    hidden = None if prompt is None else HiddenTexts({"prompt": prompt})
    return status_error(answer, what="the submit", now=0.0, model="m", hidden=hidden)


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("text", ABOUT_THE_KEY)
def test_text_about_the_key_is_an_authentication_error(text: str, code: int) -> None:
    """The next request would meet it as well."""
    error = error_of(reply(code, {"detail": text}))
    assert type(error) is AuthenticationError
    assert error.status_code == code
    assert "BFL_API_KEY" in str(error)


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("text", ABOUT_THE_REQUEST)
def test_text_about_a_request_is_an_invalid_request(text: str, code: int) -> None:
    """It must not stop a batch at this row whenever it is run."""
    assert type(error_of(reply(code, {"detail": text}))) is InvalidRequestError


KEY_HEADER = {"loc": ["header", "x-key"], "msg": "Field required", "type": "missing"}
WIDTH = {"loc": ["body", "width"], "msg": "Input should be a multiple of 32", "type": "multiple_of"}
SAYS_KEY = {"loc": ["body", "prompt"], "msg": "Invalid API key format", "type": "value_error"}


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [KEY_HEADER]},
        {"detail": [{**KEY_HEADER, "loc": ["header", "X-Key"]}]},
        {"detail": [{**KEY_HEADER, "loc": ["header", "authorization"]}]},
        {"detail": ["Invalid API key format"]},
        {"detail": {"message": "Invalid API key format"}},
        {"message": "Invalid API key format"},
        {"error": "Invalid API key format"},
        {"error": {"message": "Invalid API key", "code": "invalid_api_key"}},
        {"detail": "Invalid API key format", "code": 422},
    ],
)
def test_refusal_of_the_key_is_found_in_other_shapes(body: object) -> None:
    """Validators name the header; gateways have their own bodies."""
    assert type(error_of(reply(422, body))) is AuthenticationError


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [WIDTH]},
        {"detail": [SAYS_KEY]},
        {"detail": [KEY_HEADER, WIDTH]},
        {"detail": [{**KEY_HEADER, "loc": ["header", "content-type"]}]},
        {"detail": [{**KEY_HEADER, "loc": ["body", "x-key"]}]},
        {"detail": [{**KEY_HEADER, "loc": ["body", "header", "x-key"]}]},
        {"detail": [{**KEY_HEADER, "loc": "header"}, None, 3]},
        {"detail": []},
        {"detail": None},
        {"detail": ["Invalid API key format", "width is too large"]},
        {"detail": {"prompt": "Invalid API key format"}},
        {"detail": "width is too large", "message": "Invalid API key format"},
        {},
        [],
        "Invalid API key format",
        "<html>Invalid API key format</html>",
    ],
)
def test_other_shapes_stay_invalid_requests(body: object) -> None:
    """A validator's list is about the request, whatever its messages say; what is no JSON is not the API's word."""
    assert type(error_of(reply(422, body))) is InvalidRequestError


@pytest.mark.parametrize(
    "prompt",
    [
        "a sign that says: your API key is invalid, call us",
        "WHY IS THE API KEY IN THE VAULT NOT VALID ANY MORE?",
    ],
)
def test_words_of_the_prompt_do_not_count(prompt: str) -> None:
    """A server that repeats the prompt must not make it a refusal of the key."""
    assert type(error_of(reply(422, {"detail": f"Not accepted: {prompt}"}), prompt)) is InvalidRequestError


@pytest.mark.parametrize("prompt", ["Invalid API key format", "a cat on an API key", "key"])
def test_prompt_with_the_same_words_hides_no_refusal_of_the_key(prompt: str) -> None:
    """The text says nothing else, so it was not made from a prompt."""
    answer = reply(422, {"detail": "Invalid API key format"})
    assert type(error_of(answer, prompt)) is AuthenticationError


@pytest.mark.parametrize("code", [402, 404, 409, 429, 500, 503])
def test_other_codes_mean_what_they_meant(code: int) -> None:
    """The words decide only where the code does not."""
    assert type(error_of(reply(code, {"detail": "Invalid API key format"}))) is not AuthenticationError
