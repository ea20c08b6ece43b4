"""The sandbox's replies against recorded traffic of the real API.

The recordings are not part of the package: `BFL_RECORDINGS` names the folder that holds them, one JSON file
for each recorded session. What matters most in them stands below as facts that are held without them.
"""

import json
import math
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from enum import StrEnum
from hashlib import md5
from pathlib import Path
from typing import Annotated, Literal, cast

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from multidict import CIMultiDict
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError
from yarl import URL

from bfl_async.sandbox import Sandbox, rules
from bfl_async.sandbox.rate import PollWindow

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

FOLDER = Path(os.environ.get("BFL_RECORDINGS") or "/nowhere")
needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="BFL_RECORDINGS names no folder of recordings"
)

SUBMIT_KEYS = ["id", "polling_url", "cost", "input_mp", "output_mp"]
POLL_KEYS = ["id", "status", "result", "progress", "details", "preview"]
FLUX_1_RESULT_KEYS = ["sample", "prompt", "seed", "start_time", "end_time", "duration"]
FLUX_2_RESULT_KEYS = ["start_time", "prompt", "seed", "sample"]
TRANSPORT = "Strict-Transport-Security"
POLL_HEADERS = ["Retry-After", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"]
REFUSAL_HEADERS = ["X-Azure-Ref", "X-Cache", TRANSPORT]
RECEIPT_HEADERS = [*REFUSAL_HEADERS, "Accept-Ranges"]
IMAGE_HEADERS = [
    *("Accept-Ranges", "Cache-Control", "Content-Length", "Content-Md5", "Etag", "Last-Modified", "Server"),
    *(
        "X-Ms-Blob-Type",
        "X-Ms-Creation-Time",
        "X-Ms-Lease-State",
        "X-Ms-Lease-Status",
        "X-Ms-Server-Encrypted",
    ),
    "X-Ms-Version",
]
# Headers whose value is the same in every recording.
FIXED = [
    *(TRANSPORT, "X-Cache", "Content-Type", "Accept-Ranges", "Cache-Control", "X-Ratelimit-Limit", "Server"),
    *("X-Ms-Blob-Type", "X-Ms-Lease-State", "X-Ms-Lease-Status", "X-Ms-Server-Encrypted", "X-Ms-Version"),
]
BAD_KEY_BODY = b'{"detail":"Not authenticated - Invalid Authentication"}'
SAMPLE_URL = re.compile(
    r"https?://[^/]+/results/[^?]+/sample\.jpeg"
    r"\?se=(?P<se>\d{4}-\d\d-\d\dT\d\d%3A\d\d%3A\d\dZ)&sp=r&sv=2024-11-04&sr=b&rsct=image/jpeg"
    r"&sig=([A-Za-z0-9/]|%2B){43}%3D"
)


class Exchange(BaseModel):
    """One recorded request and its reply."""

    method: str
    url: str
    request_body: str | None
    status: int
    headers: dict[str, list[str]]
    body: str

    @property
    def fields(self) -> CIMultiDict[str]:
        return CIMultiDict((name, value) for name, values in self.headers.items() for value in values)


class Reply(BaseModel):
    """One reply of the sandbox."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def fields(self) -> CIMultiDict[str]:
        return CIMultiDict(self.headers)

    @property
    def json_body(self) -> dict[str, Json]:
        return cast(dict[str, Json], json.loads(self.body))


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose tasks end when the test says so."""
    async with Sandbox(service_s=math.inf) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def ask(
    session: ClientSession, method: str, url: str, *, body: bytes | None = None, key: str | None = None
) -> Reply:
    """One call with the URL as it is spelt."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key is not None:
        headers["x-key"] = key
    async with session.request(method, URL(url, encoded=True), data=body, headers=headers) as response:
        content = await response.read()
        return Reply(status=response.status, headers=list(response.headers.items()), body=content)


def recorded(pattern: str) -> list[Exchange]:
    """All exchanges of the files that match, in their order."""
    exchanges = [
        Exchange.model_validate(entry)
        for path in sorted(FOLDER.glob(pattern))
        for entry in json.loads(path.read_text("utf-8"))
    ]
    assert exchanges, f"no recording is named {pattern}"
    return exchanges


def names(headers: Iterable[str]) -> set[str]:
    """Header names, in which case does not matter."""
    return {name.lower() for name in headers}


def assert_same_shape(ours: Json, theirs: Json, where: str = "body", *, extra: frozenset[str]) -> None:
    """Same keys in the same order, same types; a number may stand for null and the other way round."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert [name for name in ours if name not in extra] == list(theirs), where
        for name, value in theirs.items():
            assert_same_shape(ours[name], value, f"{where}.{name}", extra=frozenset())
    elif theirs is None or isinstance(theirs, int | float):
        assert ours is None or isinstance(ours, int | float), where
    else:
        assert type(ours) is type(theirs), where


def assert_headers_as_recorded(reply: Reply, exchange: Exchange) -> None:
    """Every recorded header is there, and those that never change have their recorded value."""
    assert names(exchange.fields) <= names(reply.fields)
    for name in FIXED:
        if name in exchange.fields:
            assert reply.fields[name] == exchange.fields[name]


def assert_signed_until(sample: Json, end_time: float) -> None:
    """The URL has the recorded form, and is good for 600 s after the end, in whole seconds."""
    assert isinstance(sample, str)
    match = SAMPLE_URL.fullmatch(sample)
    assert match is not None, sample
    expiry = datetime.fromisoformat(match["se"].replace("%3A", ":"))
    assert expiry.timestamp() == int(end_time + 600)


# ---- with the recordings


@needs_recordings
async def test_a_wrong_key_gets_the_recorded_answer(sandbox: Sandbox, session: ClientSession) -> None:
    """Status, body and media type are those of the real API, byte for byte."""
    for exchange in recorded("*bad_apiKey*.json"):
        url = sandbox.url + URL(exchange.url).path
        body = (exchange.request_body or "").encode()
        reply = await ask(session, exchange.method, url, body=body, key="bad")
        assert (reply.status, reply.body) == (exchange.status, exchange.body.encode())
        assert reply.fields["Content-Length"] == exchange.fields["Content-Length"]
        assert_headers_as_recorded(reply, exchange)
        assert names(REFUSAL_HEADERS) <= names(exchange.fields)


@needs_recordings
async def test_a_session_runs_as_recorded(sandbox: Sandbox, session: ClientSession) -> None:
    """Submit, polls and download replayed one by one: statuses, keys, types, headers, URLs."""
    submit, *rest = recorded("*flux-dev_GenDoc-Image.json")
    polls = [exchange for exchange in rest if "/get_result?" in exchange.url]
    download = rest[-1]

    body = (submit.request_body or "").encode()
    reply = await ask(session, "POST", sandbox.url + URL(submit.url).path, body=body, key=sandbox.key)
    assert reply.status == submit.status
    assert_same_shape(reply.json_body, json.loads(submit.body), extra=frozenset())
    assert reply.json_body["cost"] is None
    assert_headers_as_recorded(reply, submit)
    polling_url = str(reply.json_body["polling_url"])
    assert (
        URL(polling_url).relative() == URL(polls[0].url).with_query(id=str(reply.json_body["id"])).relative()
    )

    for exchange in polls:
        status = json.loads(exchange.body)["status"]
        if status != "Pending":
            sandbox.settle(str(reply.json_body["id"]), status)
        poll = await ask(session, exchange.method, polling_url)
        assert poll.status == exchange.status
        # The recording is older than the settled cost in the last poll.
        assert_same_shape(poll.json_body, json.loads(exchange.body), extra=frozenset({"cost"}))
        assert poll.json_body["status"] == status
        assert_headers_as_recorded(poll, exchange)
    ours, theirs = poll.json_body["result"], json.loads(polls[-1].body)["result"]
    assert isinstance(ours, dict)
    for result in (ours, cast(dict[str, Json], theirs)):
        start, end = cast(float, result["start_time"]), cast(float, result["end_time"])
        assert_signed_until(result["sample"], end)
        assert result["duration"] == end - start
    assert (ours["seed"], ours["prompt"]) == (theirs["seed"], theirs["prompt"])

    image = await ask(session, download.method, str(ours["sample"]))
    assert image.status == download.status
    assert_headers_as_recorded(image, download)


@needs_recordings
def test_the_rate_headers_follow_the_recorded_ones() -> None:
    """At the recorded moments the window gives exactly the recorded `Retry-After` and `Remaining`."""
    polls = [
        exchange for exchange in recorded("*flux-dev_GenDoc-Image.json") if "/get_result?" in exchange.url
    ]
    window = PollWindow(1200)
    for exchange in polls:
        theirs = exchange.fields
        moment = float(theirs["X-Ratelimit-Reset"]) - int(theirs["Retry-After"])
        _, ours = window.count(moment, moment)
        for name in ("Retry-After", "X-Ratelimit-Limit", "X-Ratelimit-Remaining"):
            assert ours[name] == theirs[name]
        assert float(ours["X-Ratelimit-Reset"]) == pytest.approx(float(theirs["X-Ratelimit-Reset"]))


# ---- the facts, without them


async def test_a_submit_answers_in_the_recorded_form(sandbox: Sandbox, session: ClientSession) -> None:
    """Keys in their order, media type without a charset, the front door's headers."""
    for model, costs in (("flux-2-pro", True), ("flux-pro-1.1", True), ("flux-dev", False)):
        reply = await ask(
            session, "POST", f"{sandbox.url}/v1/{model}", body=b'{"prompt":"a fox"}', key=sandbox.key
        )
        assert (reply.status, list(reply.json_body)) == (200, SUBMIT_KEYS)
        for name in ("cost", "input_mp", "output_mp"):
            assert isinstance(reply.json_body[name], float) == costs
        assert reply.json_body["polling_url"] == f"{sandbox.url}/v1/get_result?id={reply.json_body['id']}"
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", str(reply.json_body["id"])
        )
        assert reply.fields["Content-Type"] == "application/json"
        assert reply.fields["X-Cache"] == "CONFIG_NOCACHE"
        assert names(RECEIPT_HEADERS) <= names(reply.fields)
        assert re.match(r"\d{8}T\d{6}Z-", reply.fields["X-Azure-Ref"])
        assert not names(reply.fields) & names(POLL_HEADERS)


async def test_a_recorded_size_costs_what_was_recorded(sandbox: Sandbox, session: ClientSession) -> None:
    """256 x 256 px on flux-2-pro: 3.0 credits, the first megapixel being a flat minimum; 0.06 MP."""
    body = b'{"prompt":"a fox","width":256,"height":256}'
    reply = await ask(session, "POST", f"{sandbox.url}/v1/flux-2-pro", body=body, key=sandbox.key)
    assert [reply.json_body[name] for name in ("cost", "input_mp", "output_mp")] == [3.0, 0.0, 0.06]


async def test_polls_answer_in_the_recorded_form(sandbox: Sandbox, session: ClientSession) -> None:
    """Keys of the body and of each family's result, headers and their form, in flight and at the end."""
    for model, result_keys in (("flux-dev", FLUX_1_RESULT_KEYS), ("flux-2-pro", FLUX_2_RESULT_KEYS)):
        url = f"{sandbox.url}/v1/{model}"
        submit = await ask(session, "POST", url, body=b'{"prompt":"a fox"}', key=sandbox.key)
        task_id, polling_url = str(submit.json_body["id"]), str(submit.json_body["polling_url"])

        pending = await ask(session, "GET", polling_url)
        assert (pending.status, list(pending.json_body)) == (200, POLL_KEYS)
        assert pending.json_body == dict.fromkeys(POLL_KEYS) | {"id": task_id, "status": "Pending"}
        assert pending.fields["Content-Type"] == "application/json"
        assert pending.fields[TRANSPORT] == "max-age=31536000; includeSubDomains"
        assert pending.fields["Retry-After"] in ("0", "1")
        assert pending.fields["X-Ratelimit-Limit"] == "1200"
        assert 0 < int(pending.fields["X-Ratelimit-Remaining"]) < 1200
        assert float(pending.fields["X-Ratelimit-Reset"]) > 1_700_000_000

        sandbox.settle(task_id)
        ready = await ask(session, "GET", polling_url)
        assert ready.status == 200
        settled = [*POLL_KEYS, "cost"] if model == "flux-dev" else POLL_KEYS
        assert list(ready.json_body) == settled
        assert (ready.json_body["status"], ready.json_body["progress"]) == ("Ready", None)
        result = ready.json_body["result"]
        assert isinstance(result, dict)
        assert list(result) == result_keys
        task = sandbox.tasks[task_id]
        took_s = task.computed_at - task.accepted_at
        assert_signed_until(result["sample"], cast(float, result["start_time"]) + took_s)


async def test_keys_are_refused_in_the_recorded_words(sandbox: Sandbox, session: ClientSession) -> None:
    """403, never 401, with a body of exactly these bytes."""
    url = f"{sandbox.url}/v1/flux-dev"
    wrong = await ask(session, "POST", url, body=b'{"prompt":"a fox"}', key="bad")
    assert (wrong.status, wrong.body) == (403, BAD_KEY_BODY)
    assert names(REFUSAL_HEADERS) <= names(wrong.fields)
    assert "Accept-Ranges" not in wrong.fields
    missing = await ask(session, "POST", url, body=b'{"prompt":"a fox"}')
    assert (missing.status, missing.body) == (403, b'{"detail":"Not authenticated"}')
    unknown = await ask(session, "POST", f"{sandbox.url}/v1/flux-9", body=b"{}", key=sandbox.key)
    assert (unknown.status, unknown.body) == (404, b'{"detail":"Not Found"}')


async def test_an_unknown_task_is_a_status_body_under_404(sandbox: Sandbox, session: ClientSession) -> None:
    """All keys stand there, null but for the id and the status."""
    reply = await ask(session, "GET", f"{sandbox.url}/v1/get_result?id=nobody")
    assert reply.status == 404
    assert list(reply.json_body) == POLL_KEYS
    assert reply.json_body == dict.fromkeys(POLL_KEYS) | {"id": "nobody", "status": "Task not found"}
    assert names(POLL_HEADERS) <= names(reply.fields)


async def test_the_image_tells_its_own_checksum(sandbox: Sandbox, session: ClientSession) -> None:
    """`Content-MD5` and `Content-Length` are those of the bytes, as on the real image host."""
    url = f"{sandbox.url}/v1/flux-dev"
    submit = await ask(
        session, "POST", url, body=b'{"prompt":"a fox","width":256,"height":256}', key=sandbox.key
    )
    sandbox.settle(str(submit.json_body["id"]))
    result = (await ask(session, "GET", str(submit.json_body["polling_url"]))).json_body["result"]
    assert isinstance(result, dict)
    image = await ask(session, "GET", str(result["sample"]))
    assert image.fields["Content-Type"] == "image/jpeg"
    assert image.fields["Content-Length"] == str(len(image.body))
    assert image.fields["Content-Md5"] == b64encode(md5(image.body, usedforsecurity=False).digest()).decode()
    assert names(IMAGE_HEADERS) <= names(image.fields)


def test_the_window_counts_like_the_recorded_one() -> None:
    """One second from its first poll; the rest of it rounded in `Retry-After`; refusals beyond the limit."""
    window = PollWindow(3)
    told = []
    for moment in (10.0, 10.4, 10.6, 10.7, 11.01):
        within, headers = window.count(moment, moment)
        told.append((within, headers["Retry-After"], headers["X-Ratelimit-Remaining"]))
    assert told == [(True, "1", "2"), (True, "1", "1"), (True, "0", "0"), (False, "1", "0"), (True, "1", "2")]


# ---- 422: pydantic is what the real API validates with


class Format(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


class FluxDev(BaseModel):
    """The endpoint's schema, as the API's own code will have it."""

    prompt: str = ""
    image_prompt: str | None = None
    width: Annotated[int, Field(ge=256, le=1440, multiple_of=32)] = 1024
    height: Annotated[int, Field(ge=256, le=1440, multiple_of=32)] = 768
    steps: Annotated[int, Field(ge=1, le=50)] | None = 28
    prompt_upsampling: bool = False
    seed: int | None = None
    guidance: Annotated[float, Field(ge=1.5, le=5)] | None = 3.0
    safety_tolerance: Annotated[int, Field(ge=0, le=6)] = 2
    output_format: Format | None = Format.JPEG
    webhook_url: HttpUrl | None = None
    user: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class Flux2Pro(BaseModel):
    """The endpoint's schema, as the API's own code will have it."""

    prompt: str
    input_image_8: str | None = None
    width: Annotated[int, Field(ge=64)] | None = 0
    height: Annotated[int, Field(ge=64)] | None = 0
    safety_tolerance: Annotated[int, Field(ge=0, le=5)] = 2
    disable_pup: bool = False


VALUES: dict[str, list[Json]] = {
    "width": [512, 250, 255, 2000, 1472, 0, -32, 512.0, 512.5, True, None, [], {}],
    "height": ["512", " 512 ", "512.0", "512.", "512.5", "x", ""],
    "steps": [1, 0, 51, None, "7", False],
    "prompt_upsampling": [True, 0, 1, 2, 1.0, 0.5, "yes", "OFF", "maybe", "", None, []],
    "seed": [None, 2**70, -1, "42", "a"],
    "guidance": [1.5, 5, 1, 5.1, "2.5", "x", "inf", True, None, {}],
    "safety_tolerance": [0, 6, 7, 10**30, None],
    "output_format": ["png", "gif", "JPEG", 1, None, []],
    "webhook_url": [
        *(
            "https://example.org/hook",
            "HTTP://EXAMPLE.org",
            "http://127.0.0.1:80/x",
            " https://example.org/ ",
        ),
        *(
            "",
            "hook",
            "//example.org/hook",
            "http://",
            "https://",
            "http://[::1",
            "http://example.org:99999/",
        ),
        *("ftp://example.org/hook", "mailto:me@example.org", "file:///etc/hosts", "javascript:1", "x:y"),
        *(5, None, True, [], "https://x/" + "a" * 2083, "ftp://x/" + "a" * 2083),
    ],
    "user": ["me", "", "u" * 257, 1, None],
    "prompt": ["", "fox", None, 1, []],
    "image_prompt": [None, "https://example.org/a.png", 1],
    "input_image_8": [None, "https://example.org/a.png", 1],
    "disable_pup": [True, "no", "perhaps"],
    "surplus": [None, 1, "x"],
}


@pytest.mark.parametrize(("model", "schema"), [("flux-dev", FluxDev), ("flux-2-pro", Flux2Pro)])
async def test_bodies_are_refused_as_pydantic_refuses_them(
    model: str, schema: type[BaseModel], session: ClientSession
) -> None:
    """Each value is accepted or refused as by the schema, with the same list of errors."""
    bodies: list[dict[str, Json]] = [
        {"prompt": "fox", name: value}
        for name, values in VALUES.items()
        for value in values
        if name in schema.model_fields or name == "surplus"
    ]
    bodies += [{}, {"width": "x", "safety_tolerance": 9, "prompt": 3}, {"width": "x"}]
    async with Sandbox(limit=len(bodies)) as sandbox:
        for body in bodies:
            try:
                schema.model_validate(body)
                expected: list[dict[str, object]] | None = None
            except ValidationError as exc:
                listed = exc.errors(include_url=False)
                expected = [{**dict(error), "loc": ["body", *error["loc"]]} for error in listed]
            reply = await ask(
                session,
                "POST",
                f"{sandbox.url}/v1/{model}",
                body=json.dumps(body).encode(),
                key=sandbox.key,
            )
            if expected is None:
                assert reply.status == 200, body
            else:
                assert (reply.status, reply.json_body) == (422, {"detail": expected}), body
                # Equal numbers of two types are equal in Python, and differ in the text that is sent.
                assert reply.body.decode() == json.dumps(
                    {"detail": expected}, ensure_ascii=False, separators=(",", ":")
                ), body


# ---- 422 of the newer endpoints: strict, with lists, pairs, choices and shapes told apart by their mode


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Flux3Image(Strict):
    """The endpoint's schema, as the API's own code will have it."""

    prompt: Annotated[str, Field(min_length=1)]
    images: str | Annotated[list[str], Field(min_length=1, max_length=10)] = []
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] = "1k"
    safety_tolerance: Annotated[int, Field(ge=0, le=7)] = 2
    grounding: bool = True
    version: str = "latest"


class VideoUpscale(Strict):
    """The endpoint's schema, as the API's own code will have it."""

    input_video: str
    prompt: str = ""
    creativity: Literal[0, 1] = 1
    upscale_factor: Annotated[float, Field(ge=1.5, le=3)] = 2


class Video(Strict):
    """What the modes of video share."""

    prompt: str
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"] | Literal["auto"] = (
        "auto"
    )
    duration: Annotated[int, Field(ge=5, le=20)] | Literal["auto"] = "auto"
    version: Literal["latest"] = "latest"


class TextToVideo(Video):
    mode: Literal["t2v"]


class ImageToVideo(Video):
    mode: Literal["i2v"]
    keyframes: str | tuple[float, str] | list[str] | list[tuple[float, str]]


class VideoToVideo(Video):
    mode: Literal["v2v"]
    start_video: str


class DraftEnhance(Strict):
    mode: Literal["draft_enhance"]
    draft_cache: str
    safety_tolerance: Annotated[int, Field(ge=0, le=4)] = 2


Flux3Video = Annotated[TextToVideo | ImageToVideo | VideoToVideo | DraftEnhance, Field(discriminator="mode")]


def varied(base: dict[str, Json], values: dict[str, list[Json]]) -> list[dict[str, Json]]:
    """The body with each of the values in its field, one at a time."""
    return [{**base, name: value} for name, listed in values.items() for value in listed]


STRICT_BODIES: dict[str, list[dict[str, Json]]] = {
    "flux-3-image": [
        {},
        {"b": 1, "a": 2, "resolution": 1},
        *varied(
            {"prompt": "fox"},
            {
                "prompt": ["", None, 1],
                "images": [[], ["a"], ["a"] * 10, ["a"] * 11, [1, "a", None], "a", None, {}],
                "resolution": ["1k", "4K", None, 1, []],
                "grounding": ["yes", 2],
                "version": ["v1", None],
                "seed": [1],
            },
        ),
    ],
    "flux-tools/video-upscale-v1": varied(
        {"input_video": "https://example.org/v.mp4"},
        {
            "creativity": [0, 1, 2, 1.0, True, "1", None],
            "upscale_factor": [1.5, 3, "2", 1, 3.5, None],
            "seed": [1],
        },
    ),
    "flux-3-video": [
        {"prompt": "fox"},
        {"mode": "t2v"},
        {"mode": "v2v"},
        {"mode": "i2v", "prompt": "fox"},
        {"mode": "draft_enhance", "prompt": "fox"},
        {"mode": "t2v", "prompt": "fox", "z": 1, "version": "v1", "a": {}},
        *varied({"prompt": "fox"}, {"mode": [3, "x", None]}),
        *varied(
            {"mode": "t2v", "prompt": "fox"},
            {
                "duration": [5, 20, 4, 21, "7", 7.0, 7.5, "auto", "long", None, []],
                "aspect_ratio": ["auto", "9:21", "5:4", 1, None],
            },
        ),
        *varied(
            {"mode": "i2v", "prompt": "fox"},
            {
                "keyframes": json.loads(
                    '["a", 5, null, {}, [], ["a"], ["a", "b", "c"], [1, "a"], ["1", "a"], ["1", 2], [[1, "a"]],'
                    '[["1", "a"], [2.5, "b"]], [[1]], [[1, "a", 2]], [1, 2, 3], [[]], [[1, "a"], ["a", "b"]],'
                    '["a", [1, "b"]], [["x", "a"]], [null]]'
                )
            },
        ),
    ],
}
STRICT_SCHEMAS: dict[str, TypeAdapter[object]] = {
    "flux-3-image": TypeAdapter(Flux3Image),
    "flux-tools/video-upscale-v1": TypeAdapter(VideoUpscale),
    "flux-3-video": TypeAdapter(Flux3Video),
}


@pytest.mark.parametrize("model", list(STRICT_BODIES))
def test_strict_bodies_are_refused_as_pydantic_refuses_them(model: str) -> None:
    """Each body is accepted or refused as by the schema, with the same list of errors."""
    for body in STRICT_BODIES[model]:
        try:
            STRICT_SCHEMAS[model].validate_python(body)
            expected: list[dict[str, object]] = []
        except ValidationError as exc:
            listed = exc.errors(include_url=False)
            expected = [{**dict(error), "loc": ["body", *error["loc"]]} for error in listed]
        try:
            rules.check(model, body)
            told: object = []
        except rules.RulesBroken as exc:
            told = exc.detail
        # As texts: 3 and 3.0 are equal in Python, and differ in what is sent.
        assert json.dumps(told) == json.dumps(expected), body
