"""Replies to values: tables of what servers and gateways have been seen to send."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from bfl_async import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    RateLimitedError,
    RefusedError,
    ServerError,
    TaskStatus,
)
from bfl_async.types import JSON, Receipt, Reply
from bfl_async.types.bounds import ERROR, RECEIPT
from bfl_async.wire.encoding import encode_body
from bfl_async.wire.errors import http_date, retry_after_s, status_error
from bfl_async.wire.json import json_object, read_body
from bfl_async.wire.redaction import HiddenTexts, body_text, detail_of
from bfl_async.wire.replies import (
    draft_cache_url,
    expiry_of,
    moderation_reasons,
    parse_cost,
    parse_poll,
    receipt_of,
    result_path,
    sample_url,
)
from tests.fake import reply

URL = "https://api.eu4.bfl.ai/v1/get_result?id=4ca5"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "4ca5", "polling_url": URL, "cost": 7.000000000000001}, Receipt("4ca5", URL, 7.0)),
        ({"id": "4ca5", "polling_url": URL, "cost": None}, Receipt("4ca5", URL, None)),
        ({"id": "4ca5"}, Receipt("4ca5", None, None)),
        ({"id": "4ca5", "status": "Pending", "webhook_url": "https://x"}, Receipt("4ca5", None, None)),
        ({"id": 17, "polling_url": ""}, Receipt("17", None, None)),
        ({"id": "4ca5", "polling_url": 3, "cost": "free"}, Receipt("4ca5", None, None)),
        ({"task_id": "4ca5"}, Receipt("4ca5", None, None)),
        ({"id": ""}, None),
        ({"id": None}, None),
        ({"id": True}, None),
        ({"id": ["4ca5"]}, None),
        ({}, None),
        ([], None),
        ("<html>", None),
    ],
)
def test_receipt_is_read_leniently_and_never_without_an_id(body: object, expected: Receipt | None) -> None:
    """Invariant 2: a 2xx that names no task is no receipt."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert receipt_of(read_body(raw, RECEIPT).data) == expected


@pytest.mark.parametrize("word", [status.value for status in TaskStatus])
@pytest.mark.parametrize("key", ["status", "state"])
def test_every_status_is_read_under_both_names(word: str, key: str) -> None:
    """`status` or `state`; all eight and `Failed`."""
    answer = parse_poll(json.dumps({"id": "x", key: word}).encode())
    assert answer is not None
    assert answer.status is TaskStatus(word)


def test_unknown_status_is_kept_as_it_came() -> None:
    """Invariant 4: unknown is data."""
    answer = parse_poll(b'{"id": "x", "status": "Dreaming", "progress": 0.4, "new": [1]}')
    assert answer is not None
    assert answer.status == "Dreaming"
    assert not isinstance(answer.status, TaskStatus)
    assert answer.progress == 0.4
    assert answer.raw["new"] == [1]


SPELLINGS = {
    "lower": str.lower,
    "upper": str.upper,
    "swapped": str.swapcase,
    "spaces": lambda word: f"  {word} ",
    "line end": lambda word: f"{word}\r\n",
    "both": lambda word: f"\t{word.upper()}\u00a0",
}


@pytest.mark.parametrize("known", list(TaskStatus))
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_known_status_is_read_in_any_case(known: TaskStatus, spelling: Callable[[str], str]) -> None:
    """A known word cannot mean anything else. The server's own spelling is kept in `raw`."""
    word = spelling(known.value)
    for key in ("status", "state"):
        answer = parse_poll(json.dumps({"id": "x", key: word}).encode())
        assert answer is not None
        assert answer.status is known
        assert answer.raw[key] == word


@pytest.mark.parametrize(
    "word", ["Readying", "Not Ready", "Re ady", "Ready.", "Content-Moderated", "\u1e9e", "Done"]
)
def test_word_that_only_resembles_a_known_one_is_unknown(word: str) -> None:
    """Invariant 4: what is not known is in flight, and kept as it came."""
    answer = parse_poll(json.dumps({"id": "x", "status": word}).encode())
    assert answer is not None
    assert answer.status == word
    assert not isinstance(answer.status, TaskStatus)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"id": "x"',
        b"[]",
        b"null",
        b'"Ready"',
        b"\xff\xfe",
        b'{"status": null}',
        b'{"status": 3}',
        b'{"detail": "Not Found"}',
        b"[" * 100_000,
        b'{"status": ""}',
        b'{"status": " \\n"}',
        b'{"detail": "Task not found yet"}',
    ],
)
def test_body_without_a_status_is_no_answer(body: bytes) -> None:
    """Invariant 3: garbage on a poll says nothing about the task."""
    assert parse_poll(body) is None


@pytest.mark.parametrize(
    "detail", [b'{"detail": "Task not found"}', b'{"status": " ", "detail": "task Not Found\\n"}']
)
def test_missing_task_is_also_told_as_a_detail(detail: bytes) -> None:
    """A 404's text counts as the status, in any case."""
    answer = parse_poll(detail)
    assert answer is not None
    assert answer.status is TaskStatus.TASK_NOT_FOUND


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7.000000000000001, 7.0),
        (4, 4.0),
        (0, 0.0),
        (None, None),
        (-1, None),
        (True, None),
        ("4", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_cost_is_free_of_noise(value: JSON, expected: float | None) -> None:
    """Costs are credits; what is none is None."""
    assert parse_cost(value) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"sample": "https://a/b?sig=%2F+"}, "https://a/b?sig=%2F+"),
        ({"samples": ["https://a/1", "https://a/2"]}, "https://a/1"),
        ({"samples": []}, ""),
        ({"sample": 3}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_sample_url_is_returned_as_received(result: dict[str, JSON] | None, expected: str) -> None:
    """No quoting, no normalising."""
    assert sample_url(result) == expected


def test_expiry_is_read_from_the_signed_url() -> None:
    """`se` is the end of the URL, in UTC."""
    assert expiry_of("https://h/x?se=2025-12-18T15%3A49%3A07Z&sp=r&sig=a") == 1766072947.0
    assert expiry_of("https://h/x?se=2025-12-18T15%3A49%3A07") == 1766072947.0
    assert expiry_of("https://h/x?se=soon") is None
    assert expiry_of("https://h/x") is None
    assert expiry_of("https://h/x?use=2025-12-18T15%3A49%3A07Z") is None
    assert expiry_of("https://h/x?sp=r&se=2025-12-18T15%3A49%3A07Z#f") == 1766072947.0


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"Moderation Reasons": ["Violence", "Self Harm"]}, ("Violence", "Self Harm")),
        ({"Moderation Reasons": "Violence"}, ("Violence",)),
        ({"Moderation Reasons": [3, "x"]}, ("x",)),
        ({}, ()),
        (None, ()),
    ],
)
def test_moderation_reasons(details: dict[str, JSON] | None, expected: tuple[str, ...]) -> None:
    """Reasons are listed since June 2026, and may be missing."""
    assert moderation_reasons(details) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("0", 0.0),
        (" 2.5 ", 2.5),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("1e9", 3600.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: float | None) -> None:
    """A mistaken header is not honoured for hours."""
    assert retry_after_s({"retry-after": text}, now=10.0) == expected


SENT_AT = 1_790_000_000.0
A_DATE = formatdate(SENT_AT, usegmt=True)


@pytest.mark.parametrize("skew_s", [-86_400, -1_800, -1, 0, 1, 1_800, 86_400, 10**12])
@pytest.mark.parametrize(
    ("wait_s", "expected"), [(0, 0.0), (2, 2.0), (45, 45.0), (100_000, 3_600.0), (-5, None)]
)
def test_date_to_retry_after_does_not_depend_on_this_machines_clock(
    skew_s: float, wait_s: float, expected: float | None
) -> None:
    """Both dates come from the server's clock, so slow and fast clocks here make no difference."""
    headers = {"date": A_DATE, "retry-after": formatdate(SENT_AT + wait_s, usegmt=True)}
    assert retry_after_s(headers, now=SENT_AT + skew_s) == expected
    busy = status_error(Reply(503, headers, b"{}"), what="the submit", now=SENT_AT + skew_s)
    assert busy.retry_after_s == expected


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT", "1790000000", "\x00"]
)
def test_date_to_retry_after_is_compared_with_our_clock_if_the_reply_has_none(date: str | None) -> None:
    """A proxy may remove the header, or break it."""
    headers = {"retry-after": formatdate(SENT_AT + 7, usegmt=True)}
    if date is not None:
        headers["date"] = date
    assert retry_after_s(headers, now=SENT_AT + 3) == 4.0


@pytest.mark.parametrize("date", [A_DATE, "yesterday"])
def test_seconds_to_retry_after_need_no_clock(date: str) -> None:
    """A duration is the same on every clock."""
    assert retry_after_s({"date": date, "retry-after": "7"}, now=0.0) == 7.0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be changed here")
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(
    "text",
    [
        "Mon, 21 Sep 2026 14:13:20 GMT", "Monday, 21-Sep-26 14:13:20 GMT", "Mon Sep 21 14:13:20 2026",
        "Mon, 21 Sep 2026 14:13:20 -0000", "Mon, 21 Sep 2026 23:13:20 +0900",
    ],
)  # fmt: skip
def test_server_dates_do_not_depend_on_this_machines_zone(
    text: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three forms that HTTP knows, and offsets."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert http_date(text) == SENT_AT
        assert retry_after_s({"retry-after": text}, now=SENT_AT - 9) == 9.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9 :+-]{4,40}"))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_header_breaks_the_reading_of_a_reply(text: str) -> None:
    """Whatever a server puts into both headers."""
    wait_s = retry_after_s({"date": text, "retry-after": text}, now=0.0)
    assert wait_s is None or 0 <= wait_s <= 3_600


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (302, RefusedError),
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, InsufficientCreditsError),
        (403, AuthenticationError),
        (404, RefusedError),
        (418, RefusedError),
        (422, InvalidRequestError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_http_status_decides_the_error_class(code: int, cls: type[Exception]) -> None:
    """One class a meaning; the facts stand beside the message."""
    error = status_error(
        reply(code, {"detail": "why"}, retry_after="3"), what="the submit", now=0.0, model="m"
    )
    assert type(error) is cls
    assert (error.status_code, error.retry_after_s) == (code, 3.0)
    assert "why" in str(error)


@pytest.mark.parametrize("code", [302, 400, 401, 402, 403, 404, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "header", ["x-request-id", "X-Request-ID", "x-azure-ref", "x-ms-request-id", "apim-request-id", "cf-ray"]
)
def test_errors_carry_the_servers_request_id(code: int, header: str) -> None:
    """What support asks for. The headers of a transport are looked up by lower-case names."""
    headers = CIMultiDict({"date": "x", header: " 7f3a-41 "})
    error = status_error(Reply(code, headers, b"{}"), what="the submit", now=0.0)
    assert error.request_id == "7f3a-41"
    assert repr(error).endswith(", request_id='7f3a-41')")
    assert pickle.loads(pickle.dumps(error)).request_id == "7f3a-41"
    assert error.fresh().request_id == "7f3a-41"


@pytest.mark.parametrize("headers", [{}, {"x-request-id": ""}, {"x-request-id": "  ", "x-cache": "HIT"}])
def test_error_without_a_request_id_has_none(headers: dict[str, str]) -> None:
    """And its repr is what it was."""
    error = status_error(Reply(403, headers, b"{}"), what="the submit", now=0.0)
    assert error.request_id is None
    assert "request_id" not in repr(error)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        "a\x1b[31mb",
        "a\u202eb",
        "a\r\nb",
        "\ud800",
        "https://h/x?sig=secret",
        "A SECRET-prompt  here",
    ],
)
def test_request_id_is_one_short_line_without_secrets(value: str) -> None:
    """Text of a server is data: bounded, printable, and without the query of a URL or what the prompt has."""
    hidden = HiddenTexts({"prompt": "a secret prompt here"})
    for headers in ({"x-request-id": value}, {"x-azure-ref": value}):
        error = status_error(Reply(500, headers, b"{}"), what="the submit", now=0.0, hidden=hidden)
        assert error.request_id
        assert len(error.request_id) <= 128
        assert error.request_id.isprintable()
        assert "secret" not in error.request_id.casefold()


def test_validation_errors_name_the_fields() -> None:
    """`detail` is a list of places, or a text."""
    body = json.dumps({"detail": [{"loc": ["body", "width"], "msg": "too wide", "type": "x"}, 3]}).encode()
    assert detail_of(json_object(body)) == ("width: too wide", (("width", "too wide"),))
    assert detail_of({"detail": "two\n lines"}) == ("two lines", ())
    assert detail_of(None) == ("", ())


def test_error_bodies_are_cut_and_free_of_signed_queries() -> None:
    """No signed URL's query stands in an error."""
    text = body_text(b'{"sample": "https://h/x.jpg?se=1&sig=secret", "n": "' + b"x" * 10_000)
    assert "secret" not in text
    assert "https://h/x.jpg" in text
    assert len(text) <= 2_000


def test_encoding_refuses_what_json_has_no_word_for() -> None:
    """NaN would be sent as a word that no server can read."""
    assert (
        encode_body({"prompt": "ü\ud800", "n": [1, None, True]})
        == b'{"prompt":"\\u00fc\\ud800","n":[1,null,true]}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_body({"guidance": float("nan")})


def test_result_path_quotes_the_id() -> None:
    """An id is untrusted too."""
    assert result_path("a/b?c&d#e") == "/v1/get_result?id=a%2Fb%3Fc%26d%23e"
    assert json_object(b"{}") == {}


@pytest.mark.parametrize("around", ["a", '"', "\\", "é", "猫", "\U0001f600", "\x00"])
def test_long_texts_are_written_as_short_ones_are(around: str) -> None:
    """Cutting a text for writing changes nothing, wherever it is cut."""
    for length in (512 * 1024 - 1, 512 * 1024, 512 * 1024 + 1, 1024 * 1024 + 1):
        body = {"prompt": "x", "image": (around + "b") * (length // 2) + "c" * (length % 2), "n": [around]}
        assert encode_body(body) == json.dumps(body, separators=(",", ":")).encode()
    assert encode_body({}) == b"{}"


# ---- flaws in fields that are not needed

NOT_JSON = {
    "latin-1": b'"caf\xe9"',
    "no encoding": b'"\xff\xfe\x80\x00"',
    "cut in a character": b'"\xf0\x9f"',
    "line end": b'"two\r\nlines"',
    "tab and NUL": b'"a\t\x00\x1f"',
    "Windows path": rb'"C:\images\qwen\x.png"',
    "three backslashes": rb'"\\\x"',
    "unfinished escape": rb'"\u12"',
    "escaped apostrophe": rb'"it\'s"',
    "integer": b"9" * 5_000,
    "negative integer": b"-" + b"7" * 50_000,
    "integers in a list": b"[1, " + b"1" * 4_301 + b"]",
}
# How deep a strict reader goes depends on the version and its settings.
NESTED = {
    "lists": b"[" * 2_000 + b"]" * 2_000,
    "objects": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "lists and objects": b'[{"]}": [' * 900 + b"]}]" * 900,
}
FLAWED = pytest.mark.parametrize("flaw", [*NOT_JSON.values(), *NESTED.values()], ids=[*NOT_JSON, *NESTED])


def an_answer(value: bytes) -> bytes:
    """A reply that ends a task, with `value` in two fields that are not needed."""
    result = b'{"prompt": %b, "sample": "https://h/x?a=%%5C"}' % value
    return b'{"id": "t1", "echo": %b, "status": "Ready", "result": %b, "cost": 4}' % (value, result)


def assert_all_needed_is_read(body: bytes) -> None:
    answer = parse_poll(body)
    assert answer is not None
    assert (answer.status, answer.cost) == (TaskStatus.READY, 4.0)
    assert sample_url(answer.result) == "https://h/x?a=%5C"
    assert receipt_of(read_body(body, RECEIPT).data) == Receipt("t1", None, 4.0)


@FLAWED
def test_flawed_value_does_not_hide_the_other_fields(flaw: bytes) -> None:
    """Invariant 2: a paid task is not abandoned because of a field that is not needed."""
    body = an_answer(flaw)
    assert_all_needed_is_read(body)
    data = json_object(body)
    assert data is not None
    pickle.dumps(data)
    json.dumps(data)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_bytes_within_a_string_hide_the_other_fields(garbage: bytes) -> None:
    """Whatever the bytes are, as long as the string ends where it should."""
    garbage = garbage.replace(b'"', b"").rstrip(b"\\")
    assert_all_needed_is_read(an_answer(b'"' + garbage + b'"'))


@pytest.mark.parametrize(
    ("flaw", "expected"),
    [
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"a\nb\x00"', "a\nb\x00"),
        (rb'"C:\new\\x\qwen\u12\u0041"', "C:\new\\x\\qwen\\u12A"),
        (rb'"\\\x\\"', r"\\x" + "\\"),
        (b"9" * 5_000, "9" * 5_000),
        (b"-" + b"9" * 5_000, "-" + "9" * 5_000),
        (b"1" * 640 + b"}x", int("1" * 640)),
        (rb'{"a\"]": [1], "b": "}"}}x', {'a"]': [1], "b": "}"}),
    ],
)
def test_flawed_value_is_kept_as_well_as_it_can_be(flaw: bytes, expected: JSON) -> None:
    """The rest of a prompt with one bad byte is of use; a number that Python does not read is its text."""
    assert json_object(b'{"value": ' + flaw + b"}") == {"value": expected}


@pytest.mark.parametrize("rest", [b"}", b"\x00", b" trailing", b'{"status": "Error"}', b"<!-- -->", b"]}"])
def test_text_after_the_object_is_ignored(rest: bytes) -> None:
    """A gateway may add to a reply."""
    assert_all_needed_is_read(an_answer(b'"]}"') + rest)


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4), st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_repairs_change_nothing_that_is_sound(data: dict[str, JSON], ensure_ascii: bool) -> None:
    """An object that only has text after it is read as if it had none."""
    body = json.dumps(data, ensure_ascii=ensure_ascii).encode("utf-8", "replace")
    assert json_object(body + b"x") == json_object(body) == json.loads(body)


@pytest.mark.parametrize("depth", [1, 2, 62, 63, 64, 65, 66, 150])
@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a": ', b"}"), (b'["[", ', b"]"), (b"[[", b"]]")]
)
def test_sound_and_flawed_replies_are_cut_at_the_same_depth(
    depth: int, opening: bytes, closing: bytes
) -> None:
    """What follows the nested value is read in both."""
    body = b'{"a": %b1%b, "b": 2}' % (opening * depth, closing * depth)
    data = json_object(body + b"x")
    assert data == json_object(body)
    assert data is not None
    assert data["b"] == 2


@FLAWED
def test_flawed_reply_that_breaks_off_is_unreadable(flaw: bytes) -> None:
    """Invariant 3: what came of a truncated reply does not end a task."""
    body = an_answer(flaw)
    cuts = {*range(1, len(body), max(1, len(body) // 97)), *range(len(body) - 60, len(body))}
    assert [cut for cut in cuts if parse_poll(body[:cut]) is not None] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"id": "t\xff", "polling_url": "https://h/p"}', Receipt("t\ufffd", "https://h/p", None)),
        (b'{"id": "t", "polling_url": "https://h/\xff"}', Receipt("t", None, None)),
        (b'{"id": "t\xff", "polling_url": "https://h/\xff"}', None),
        (b'{"id": "t\xff"}', None),
        (b'{"id": "\xe9\xff"}', None),
    ],
)
def test_damaged_id_or_url_is_no_way_to_the_task(body: bytes, expected: Receipt | None) -> None:
    """The other one is used. Without either, the submit is ambiguous: a poll would only find another task, or none."""
    assert receipt_of(read_body(body, RECEIPT).data) == expected


@pytest.mark.parametrize("word", [b"Ready\xff", b"\x80Error", b"Err\xc3"])
def test_damaged_status_is_no_answer(word: bytes) -> None:
    """Invariant 3: a failed poll, which backs off."""
    assert parse_poll(b'{"status": "%b"}' % word) is None


def test_damaged_url_of_a_result_is_none() -> None:
    """A download from it could only fail; another poll may bring a sound one."""
    answer = parse_poll(
        b'{"status": "Ready", "result": {"sample": "https://h/\xff", "draft_cache": "https://h/\xff"}}'
    )
    assert answer is not None
    assert (sample_url(answer.result), draft_cache_url(answer.result)) == ("", None)


@pytest.mark.parametrize("word", [b"NaN", b"-Infinity", b"1e999", b"-1e999", b"1" * 400])
@pytest.mark.parametrize("rest", [b"", b"x"])
def test_numbers_beyond_all_bounds_are_no_numbers(word: bytes, rest: bytes) -> None:
    """They cost neither the reply nor what adds up costs."""
    body = b'{"id": "t1", "status": "Ready", "progress": %b, "cost": %b, "seed": %b}' % (word, word, word)
    answer = parse_poll(body + rest)
    assert answer is not None
    assert (answer.status, answer.progress, answer.cost) == (TaskStatus.READY, None, None)
    assert receipt_of(read_body(body + rest, RECEIPT).data) == Receipt("t1", None, None)


@pytest.mark.parametrize("flaw", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_flawed_body_is_no_proof_of_json(flaw: bytes) -> None:
    """Invariant 2: a 503 with JSON is sent again, so a body that only can be repaired must not count as such."""
    assert not read_body(an_answer(flaw), ERROR).is_json
    assert not read_body(an_answer(b"1") + b"x", ERROR).is_json
    assert not read_body(an_answer(b"1")[:-1], ERROR).is_json
    assert read_body(an_answer(b"1"), ERROR).is_json


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ' + b"[" * 4_000_000,
        b'{"a": ' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}x",
        b'{"a": ' * 600_000 + b"1" + b"}" * 600_000,
        b'{"a": [' + b"[]{}" * 1_000_000,
        b'{"a": "' + b"\\" * 4_000_000,
        b'{"a": "' + b"\\" * 4_000_001 + b'x"}x',
        b'{"a": "' + b'\\"' * 2_000_000,
        b'{"a": "' + rb"\x" * 2_000_000 + b'"}',
        b'{"a": [' + b'"",' * 1_300_000 + b"1]}x",
        b'{"a": ' + b"1" * 4_000_000 + b"}",
        b'{"a": [' + b",".join([b"1" * 640] * 6_000) + b"]}x",
        b'{"a": "' + b"\xff" * 4_000_000 + b'"}',
        b"\xff\xfe{\x00" + b"\x00\xd8" * 2_000_000,
    ],
    ids=range(13),
)
def test_hostile_body_costs_time_in_proportion_to_its_length(body: bytes) -> None:
    """Invariant 10. A reading in quadratic time would take hours; this one takes less than a second."""
    began = time.process_time()
    json_object(body)
    assert time.process_time() - began < 10
