"""What a server may send, and what of it may be kept, shown and logged."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from bfl_async import (
    AsyncBFL,
    BFLError,
    InvalidRequestError,
    TaskModeratedError,
    TaskTimeoutError,
    Timeouts,
)
from bfl_async.transport.reading import inflate
from bfl_async.types import JSON, Reply
from bfl_async.types import bounds as _bounds
from bfl_async.types.bounds import Bounds, is_within
from bfl_async.wire.json import read_body
from bfl_async.wire.redaction import HiddenTexts, detail_of, hide
from tests.fake import FakeAPI, reply
from tests.nasty import NASTY, RAW
from tests.unit.integrations.test_otel import Telemetry
from tests.web import free_socket, serving_aiohttp

KEY = "bfl_a-key/that-is-repeated"
KINDS = {
    "poll": _bounds.POLL, "receipt": _bounds.RECEIPT, "error": _bounds.ERROR, "credits": _bounds.CREDITS,
    "account": _bounds.ACCOUNT, "delivery": _bounds.DELIVERY,
}  # fmt: skip


# ---- bounds


@pytest.mark.parametrize("bounds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("item", [b"0", b"[]", b'{"a":1}', b'"x"', b"[[]]"])
def test_parts_are_counted_before_anything_is_parsed(bounds: Bounds, item: bytes) -> None:
    """Invariant 10: what parsing costs depends on the number of parts."""
    too_many = b'{"status": "Ready", "x": [' + b",".join([item] * (bounds.max_parts + 1)) + b"]}"
    assert read_body(too_many, bounds).data is None
    enough = b'{"status": "Ready", "x": [' + b",".join([item] * (bounds.max_parts // 4)) + b"]}"
    assert read_body(enough, bounds).data is not None


@pytest.mark.parametrize("bounds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("char", [",", "[", "{", '"', "\\", '",', "\\\\,"])
def test_what_stands_in_a_text_is_not_a_part(bounds: Bounds, char: str) -> None:
    """A prompt may hold any number of commas."""
    body = json.dumps({"status": "Ready", "prompt": char * (bounds.max_parts + 10)}).encode()
    assert is_within(body, bounds)
    assert read_body(body, bounds).data == json.loads(body)


@pytest.mark.parametrize("bounds", KINDS.values(), ids=KINDS)
def test_size_is_bounded_after_decompression(bounds: Bounds) -> None:
    """256 KiB, or 1 MiB."""
    head = b'{"status": "Ready", "x": "'
    assert read_body(head + b"x" * (bounds.max_bytes - len(head) - 2) + b'"}', bounds).data is not None
    assert read_body(head + b"x" * bounds.max_bytes + b'"}', bounds).data is None


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP ", "deflate", "raw deflate"])
def test_compressed_reply_is_unpacked_up_to_its_bound(encoding: str) -> None:
    """No more than the bound is ever made of it."""
    body = b"reply" * 2_000_000
    if "deflate" in encoding:
        packer = zlib.compressobj(wbits=-15 if encoding.startswith("raw") else 15)
        packed = packer.compress(body) + packer.flush()
    else:
        packed = gzip.compress(body)
    header = encoding.removeprefix("raw ")
    assert inflate(packed, header, len(body)) == body
    assert inflate(packed, header, 1_000) == body[:1_001]
    for flawed in (packed[:-20], b"garbage", b""):
        with pytest.raises(ValueError, match=r"breaks off|not what"):
            inflate(flawed, header, len(body))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    """Unpacking it may need another library, without a bound."""
    with pytest.raises(ValueError, match="asked for"):
        inflate(b"x", encoding, 10)


def test_few_pairs_of_a_long_list_of_errors_are_kept() -> None:
    """At most 100, each path and message at most 200 characters."""
    item: JSON = {"loc": ["body", "p" * 900, 3], "msg": "m" * 5_000}
    _, pairs = detail_of({"detail": [item] * 1_500})
    assert 0 < len(pairs) <= 100
    assert max(len(text) for pair in pairs for text in pair) <= 200
    short: JSON = {"loc": ["body", "n"], "msg": "no"}
    assert len(detail_of({"detail": [short] * 1_500})[1]) == 100


def test_reply_of_too_many_parts_is_not_parsed_for_a_caller() -> None:
    """`Reply.json` runs in the caller's event loop."""
    with pytest.raises(BFLError, match="too large"):
        Reply(200, {}, b"[" + b"0," * 30_000 + b"0]").json()


def test_documented_bounds_are_the_ones_in_the_code() -> None:
    """`docs/reference/replies.md`."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "replies.md"
    rows = re.findall(r"^\| (.*) \| ([\d,]+) \| ([\d,]+) \|$", page.read_text("utf-8"), re.MULTILINE)
    stated = [Bounds(int(size.replace(",", "")), int(parts.replace(",", ""))) for _, size, parts in rows]
    assert stated == list(KINDS.values())


# ---- the key


SPELLINGS = {
    "plain": lambda key: key,
    "escaped": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "escaped in capitals": lambda key: "".join(f"\\u{ord(char):04X}" for char in key),
    "partly": lambda key: key.replace("e", "\\u0065"),
    "slashes": lambda key: key.replace("/", "\\/"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("status", [200, 302, 401, 422, 503])
@pytest.mark.parametrize("packed", [False, True])
async def test_no_reply_keeps_the_key(spell: object, status: int, *, packed: bool) -> None:
    """Whatever its status: a 2xx ends in errors, statuses and logs too."""
    assert callable(spell)
    text = '{"id": "%s", "status": "%s", "detail": "%s", "é": "\\u00e9"}' % ((spell(KEY),) * 3)

    async def answer(_: web.Request) -> web.Response:
        headers = {"X-Echo": KEY, "Content-Type": "application/json"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = gzip.compress(text.encode()) if packed else text.encode()
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with (
        serving_aiohttp(app, free_socket()) as url,
        AsyncBFL(KEY, base_url=url, timeouts=Timeouts(task=0.2)) as bfl,
    ):
        kept: list[object] = []
        handle = bfl.attach("t1")
        for call in (
            handle.result(timeout=0.1), bfl.generate("flux-dev", prompt="x", timeout=0.1), bfl.credits(),
            bfl.get("/v1/x", timeout=0.2),
        ):  # fmt: skip
            try:
                kept.append(await call)
            except BFLError as exc:
                kept += [exc, str(exc), exc.__dict__, exc.__cause__, getattr(exc.__cause__, "__dict__", None)]
        kept.append(handle.poll_reply)
        everything = repr(kept) + "".join(
            f"{dict(one.headers)}{one.body.decode(errors='replace')}"
            for one in kept
            if isinstance(one, Reply)
        )
        pickled = pickle.dumps([one for one in kept if isinstance(one, BFLError | Reply)])
    assert KEY not in json.dumps(everything).replace("\\/", "/")
    assert KEY not in everything.encode().decode("unicode_escape")
    assert KEY.encode() not in pickled


# ---- the prompt


PROMPT = "Mrs  Vance, in a GOWN of \u201cgreen\u201d silk\n\tat the caf\u00e9"
ECHOES = [
    PROMPT,
    " ".join(PROMPT.split()),
    PROMPT.upper(),
    PROMPT.replace("\u00e9", "e\u0301"),
    json.dumps(PROMPT),
    PROMPT[10:],
    PROMPT[:-8],
    f"value was <{PROMPT[4:40]}...>",
    repr(PROMPT),
    "-".join(PROMPT.split()),
]


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_prompt_that_comes_back_altered_is_hidden(echo: str) -> None:
    """White space, case, punctuation, escapes and the form of Unicode make no difference, nor does a cut."""
    hidden = HiddenTexts({"prompt": PROMPT, "output_format": "jpeg"})
    shown = hide(f"the input was {echo} and may not be", hidden)
    assert "ance" not in shown.lower()
    assert "own of" not in shown.lower()
    assert shown.startswith("the input was")
    assert shown.endswith("may not be")


@pytest.mark.parametrize("text", ["Input should be a category", "too wide", "", "a catalogue", "width: 7"])
def test_what_only_resembles_a_prompt_is_shown(text: str) -> None:
    """A short prompt within a longer word is a coincidence."""
    assert hide(text, HiddenTexts({"prompt": "a cat"})) == text
    assert hide("the prompt a CAT is bad", HiddenTexts({"prompt": "a cat"})) == "the prompt … is bad"


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
@pytest.mark.looptime
async def test_prompt_is_in_no_error_log_or_span(
    echo: str, caplog: pytest.LogCaptureFixture, telemetry: Telemetry
) -> None:
    """Validation, moderation, an unknown status, a failed submit; the errors' `.body` included."""
    caplog.set_level(logging.DEBUG)
    errors = await errors_with(echo, telemetry, task_id="t", prompt=PROMPT)
    for text in (
        *shown_by(errors, caplog, telemetry),
        *(str(getattr(error, "body", "")) for error in errors),
    ):
        assert "Vance" not in text
        assert "VANCE" not in text


# ---- every sink


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.shutdown()


async def errors_with(text: str, telemetry: Telemetry, *, task_id: str, prompt: str) -> list[BFLError]:
    """Return the errors of calls whose replies have `text` wherever a server can put one."""
    api = FakeAPI()
    errors: list[BFLError] = []
    url = "/v1/get_result?id=task-0"
    ends: list[Reply] = [
        reply(200, {"id": "t", "status": text}),
        reply(
            200, {"id": text, "status": "Request Moderated", "details": {"Moderation Reasons": [text] * 50}}
        ),
        reply(200, {"id": text, "status": "Content Moderated", "details": {"Moderation Reasons": text}}),
        reply(200, {"id": text, "status": "Error", "details": {"error": text, text[:50]: text}}),
        reply(404, {"detail": text}),
        reply(503, text.encode("utf-8", "surrogatepass")),
    ]
    starts: list[Reply] = [
        reply(
            422,
            {"detail": [{"loc": ["body", text, "x"], "msg": text, "input": text, "ctx": {"a": text}}] * 200},
        ),
        reply(422, {"detail": text}),
        reply(400, {"message": text}),
        reply(403, text.encode("utf-8", "surrogatepass")),
        reply(404, {"detail": text}),
        reply(500, {"detail": text}),
        reply(200, {"note": text}),
        reply(429, {"detail": text}),
    ]
    async with api.client(timeouts=Timeouts(task=20), observer=telemetry.observer) as bfl:
        for end in ends:
            api.script_submits(reply(200, {"id": task_id, "polling_url": url}))
            api.script_polls(*([end] * 400))
            handle = await bfl.submit("flux-dev", prompt=prompt)
            try:
                await handle
            except BFLError as exc:
                errors.append(exc)
            errors.append(BFLError(repr(handle)))
            api.poll_script.clear()
        for start in starts:
            api.script_submits(*([start] * 30))
            try:
                await bfl.generate("flux-dev", prompt=prompt, timeout=5)
            except BFLError as exc:
                errors.append(exc)
            api.submit_script.clear()
        # Lost, and left behind when the client is closed.
        api.script_submits(reply(200, {"id": task_id, "polling_url": url}))
        api.script_polls(*([ends[0]] * 400))
        await bfl.submit("flux-dev", prompt=prompt)
    return errors


def shown_by(errors: list[BFLError], caplog: pytest.LogCaptureFixture, telemetry: Telemetry) -> list[str]:
    """Return all that is shown: messages and reprs, with causes; log records with their fields; spans."""
    shown: list[str] = []
    for error in errors:
        cause: BaseException | None = error
        while cause is not None:
            shown += [str(cause), repr(cause)]
            cause = cause.__cause__
        shown += [str(getattr(error, name, "")) for name in ("task_id", "status", "reasons", "errors")]
    for record in caplog.records:
        shown.append(record.getMessage())
        shown += [str(value) for name, value in vars(record).items() if name.startswith("bfl_")]
    for span in telemetry.spans:
        shown += [span.name, str(span.status.description), *map(str, (span.attributes or {}).values())]
    return shown


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
@pytest.mark.looptime
async def test_text_of_a_server_is_harmless_wherever_it_is_shown(
    text: str, caplog: pytest.LogCaptureFixture, telemetry: Telemetry
) -> None:
    """Invariant 13: one line, no control character, a few hundred characters."""
    caplog.set_level(logging.DEBUG)
    # More is not read at all.
    errors = await errors_with(text[:1_000], telemetry, task_id=text[:100_000], prompt="a harmless picture")
    assert len(errors) > 12
    for shown in shown_by(errors, caplog, telemetry):
        assert not RAW.search(shown), shown[:300]
        assert "\n" not in shown
        assert "forged" not in shown.splitlines()[-1:]
    for error in errors:
        assert len(str(error)) <= 5_000
    for record in caplog.records:
        assert len(record.getMessage()) <= 5_000
    moderated = [error for error in errors if isinstance(error, TaskModeratedError)]
    assert moderated
    assert all(len(error.reasons) <= 20 and max(map(len, error.reasons)) <= 200 for error in moderated)
    assert all(len(error.errors) <= 100 for error in errors if isinstance(error, InvalidRequestError))
    assert all(len(error.task_id) <= 200 for error in errors if error.task_id is not None)
    assert all(len(error.status or "") <= 200 for error in errors if isinstance(error, TaskTimeoutError))
    pickle.dumps(errors)
