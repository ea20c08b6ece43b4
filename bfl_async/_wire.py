"""Replies: bytes to values, leniently. Pure functions; nothing here decides what happens next.

Facts of the API, each met in recorded traffic or official samples (read 2026-09-25): `status` is sometimes
`state`; `detail` is a string or a list; `cost` is null or carries float noise (7.000000000000001); a status
body may stand under 422 and 503; with a webhook the submit's answer has no `polling_url`; results hold more
than `sample`, and newer ones `samples`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import cast
from urllib.parse import quote, unquote

from pydantic_core import from_json

from bfl_async.errors import (
    APIStatusError,
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    RateLimitedError,
    RefusedError,
    ServerError,
)
from bfl_async.status import TaskStatus, status_from
from bfl_async.types import JSON, PollReply, Receipt, Reply

BODY_CHARS = 2_000  # of a reply's text that an error keeps
_MAX_RETRY_AFTER_S = 3_600.0  # a header beyond this is taken for a mistake


def chars_of(body: Mapping[str, JSON]) -> int:
    """Return the characters of a body's texts, those within its values left out."""
    return sum([len(value) for value in body.values() if isinstance(value, str)])


def encode_body(body: Mapping[str, JSON]) -> bytes:
    """Return the JSON text of a submit.

    A large one is written field by field, each let go before the next: an image of 2 MB is then never held more
    than twice.

    Raises:
        ValueError: The body holds a number that JSON has no word for.
    """
    if chars_of(body) <= _SLICE_CHARS:
        return dump_json(body)
    rest = dict(body)
    del body
    parts: list[bytes] = []
    while rest:
        name = next(iter(rest))
        parts.append(b"," if parts else b"{")
        parts.append(dump_json(name) + b":")
        # Handed over without a name of its own here, so that nothing keeps it.
        parts += _pieces(rest.pop(name))
    return b"".join((*parts, b"}")) if parts else b"{}"


_SLICE_CHARS = 512 * 1024  # of a text that is written at a time: json.dumps holds the interpreter meanwhile


def _pieces(value: JSON) -> list[bytes]:
    """A value as JSON; a long text in pieces, each let go as it is written."""
    if not isinstance(value, str) or len(value) <= _SLICE_CHARS:
        return [dump_json(value)]
    # Characters are written one by one, so a text can be cut anywhere.
    slices = [value[at : at + _SLICE_CHARS] for at in range(0, len(value), _SLICE_CHARS)]
    del value
    slices.reverse()
    pieces = [b'"']
    while slices:
        pieces.append(dump_json(slices.pop())[1:-1])
    pieces.append(b'"')
    return pieces


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def dump_json(value: JSON | Mapping[str, JSON]) -> bytes:
    """Return a value as JSON text, written at once.

    Raises:
        ValueError: It holds a number that JSON has no word for.
    """
    return _ENCODER.encode(value).encode()


def is_json(body: bytes) -> bool:
    """Return whether `body` is JSON without any flaw: the API itself answered, not a gateway in front of it.

    Strict on purpose, unlike `json_object`. A 503 with JSON proves that no task exists, so its submit is sent
    again: a wrong yes pays twice, a wrong no only reports an ambiguous submit.
    """
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def json_object(body: bytes) -> Mapping[str, JSON] | None:
    """Return the JSON object in `body`; None if there is none, or if it breaks off.

    A flaw in one field does not cost the others, because a paid task may depend on them: see `_repaired`.
    """
    try:
        value: object = from_json(body)
    except ValueError:
        return _repaired(body)
    if not isinstance(value, dict):
        return None
    if body.count(b"{") + body.count(b"[") > _DEEPEST:
        value = _pruned(value, _DEEPEST)
    return cast("Mapping[str, JSON]", value)


# No reply of the API comes near this depth. A value nested by the hundred can be read, but not pickled.
_DEEPEST = 64
_TOO_DEEP = "…"


def _pruned(value: object, depth: int) -> object:
    """Return a value without what is nested deeper than `depth`."""
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return _TOO_DEEP
    if isinstance(value, list):
        return [_pruned(item, depth - 1) for item in value]
    return {name: _pruned(item, depth - 1) for name, item in value.items()}


# Bounds the work in Python on a hostile body to some 50 ms. The rest runs at the speed of C, in linear time.
_MOST_REPAIRS = 100_000
# Every Python reads an integer of this many digits; more may raise ValueError, in reading and in writing.
_MOST_DIGITS = 640


def _repaired(body: bytes) -> Mapping[str, JSON] | None:
    """Read an object that is not quite JSON; None if there is no whole object at the start of `body`.

    Bytes that are not UTF-8 become U+FFFD. Control characters and backslashes that begin no escape count as
    themselves. An integer that Python would not read becomes its text. A value nested deeper than `_DEEPEST` becomes
    "…". Text after the object is ignored.

    The flaws are repaired in the text, and the repaired text is read by the standard library.
    """
    encoding = json.detect_encoding(body)
    try:
        # Only the UTF-8 decoder replaces bad bytes in C: the others would hold the loop for seconds.
        text = body.decode(encoding, "replace" if encoding.startswith("utf-8") else "strict").lstrip()
    except ValueError:
        return None
    if not text.startswith("{"):
        return None
    found = _first_object(text)
    if found is None:
        return None
    try:
        found = _STRAY_BACKSLASHES.sub(_escaped, found, count=_MOST_REPAIRS)
        # With a function for integers, reading many of them takes five times as long.
        decoder = _LENIENT if _LONG_INTEGER.search(found) is None else _LENIENT_WITH_LONG_INTEGERS
        value: object = decoder.decode(found)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, JSON]", value)


# These patterns begin with a character, so that the search skips all others in C. The lookbehind says that the run
# begins here: without it, a run would be tried again at each of its characters.
_LONG_INTEGER = re.compile(rf"[0-9](?<![0-9][0-9])[0-9]{{{_MOST_DIGITS}}}")
# A run of backslashes before a character that makes no escape with them.
_STRAY_BACKSLASHES = re.compile(r"""\\(?<!\\\\)\\*+(?!["\\/bfnrt]|u[0-9A-Fa-f]{4})""")
_STRING_OR_BRACKETS = re.compile(r"""["\[{\]}](?:(?<=")[^"]*"?|(?<=[\[{])[\[{]*|[\]}]*)""")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


_LENIENT = json.JSONDecoder(strict=False)
_LENIENT_WITH_LONG_INTEGERS = json.JSONDecoder(strict=False, parse_int=_integer)


def _escaped(run: re.Match[str]) -> str:
    # The backslashes of an even run escape each other.
    return run[0] + "\\" * (len(run[0]) % 2)


def _first_object(text: str) -> str | None:
    """Return the object at the start of `text`, with "…" for what is nested deeper than `_DEEPEST`.

    None if it has no end.
    """
    # The same length, and every quote left is one end of a string.
    outline = text.replace(r"\\", "__").replace(r"\"", "__")
    kept: list[str] = []
    # Where the part begins that is kept next.
    start = 0
    depth = 0
    for token in islice(_STRING_OR_BRACKETS.finditer(outline), _MOST_REPAIRS):
        at, end = token.span()
        first, count = outline[at], end - at
        if first == '"':
            continue
        if first in "[{":
            if depth <= _DEEPEST < depth + count:
                kept += text[start : at + _DEEPEST - depth], f'"{_TOO_DEEP}"'
            depth += count
        else:
            if depth - count <= _DEEPEST < depth:
                start = at + depth - _DEEPEST
            if depth <= count:
                return "".join((*kept, text[start : at + depth]))
            depth -= count
    return None


def _is_damaged(text: str) -> bool:
    """Return whether a text lost bytes that were not UTF-8. A field that is needed then counts as missing."""
    return "\ufffd" in text


def parse_receipt(body: bytes) -> Receipt | None:
    """Return the receipt in a submit's 2xx reply; None when it cannot be read or names no task."""
    data = json_object(body)
    if data is None:
        return None
    task_id = data.get("id", data.get("task_id"))
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if not isinstance(task_id, str) or not task_id.strip():
        return None
    url = data.get("polling_url")
    if not isinstance(url, str) or not url or _is_damaged(url):
        # The task is then polled by its id.
        if _is_damaged(task_id):
            return None
        url = None
    return Receipt(task_id, url, parse_cost(data.get("cost")))


def makes_task(body: bytes) -> bool:
    """True for a reply that tells of a task: an id, and where its end will be told."""
    data = json_object(body) or {}
    return bool(data.get("id")) and bool(data.get("polling_url") or data.get("webhook_url"))


_KNOWN_WORDS = {status.value.lower(): status for status in TaskStatus}


def status_of(word: str) -> TaskStatus | str:
    """Return the status that a server's word names, or the word itself if this release does not know it.

    Case and surrounding white space make no difference: "FAILED" cannot mean anything but Failed. Taken for an
    unknown word, it would count as in flight, and an ended task would be polled until its deadline.
    """
    status = status_from(word)
    # Nearly always the word is exact.
    return status if isinstance(status, TaskStatus) else _KNOWN_WORDS.get(word.strip().lower(), word)


def parse_poll(body: bytes) -> PollReply | None:
    """Return the status in a poll's reply, whatever its HTTP code; None when there is none."""
    data = json_object(body)
    if data is None:
        return None
    word = data.get("status")
    if not isinstance(word, str) or not word.strip():
        word = data.get("state")
    if not isinstance(word, str) or not word.strip() or _is_damaged(word):
        # A missing task may also be reported as an error text.
        word = data.get("detail")
        if not isinstance(word, str) or status_of(word) is not TaskStatus.TASK_NOT_FOUND:
            return None
    # A pending task's answer has next to nothing in these: looked at here, without a call for each.
    progress, cost, result, details = map(data.get, ("progress", "cost", "result", "details"))
    return PollReply(
        status_of(word),
        None if progress is None else number_of(progress),
        result if isinstance(result, dict) else None,
        details if isinstance(details, dict) else None,
        None if cost is None else parse_cost(cost),
        data,
    )


def parse_cost(value: JSON) -> float | None:
    """Return a cost in credits without float noise; None where none is stated."""
    number = number_of(value)
    if number is None or number < 0:
        return None
    return number if number.is_integer() else round(number, 6)


def number_of(value: JSON) -> float | None:
    """Return a finite number; None for anything else."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def draft_cache_url(result: Mapping[str, JSON] | None) -> str | None:
    """Return the URL from which a draft video can be made a full one; None where the answer has none."""
    # Older previews of the API have the plural.
    return _first_url(result, "draft_cache", "draft_caches") or None


def sample_url(result: Mapping[str, JSON] | None) -> str:
    """Return the result's URL as it came; "" where the answer has none."""
    return _first_url(result, "sample", "samples")


def _first_url(result: Mapping[str, JSON] | None, name: str, plural: str) -> str:
    if result is None:
        return ""
    url = result.get(name)
    if not isinstance(url, str):
        several = result.get(plural)
        url = several[0] if isinstance(several, list) and several else None
    return url if isinstance(url, str) and not _is_damaged(url) else ""


_SIGNED_END = re.compile(r"[?&]se=([^&#]{1,60})")


def expiry_of(url: str) -> float | None:
    """Return the end of a signed URL in Unix seconds, from its `se` field; None where it states none."""
    found = _SIGNED_END.search(url)
    if found is None:
        return None
    try:
        # As BFL writes it only the colons are quoted; `unquote` for whatever else there may be.
        text = found[1].replace("%3A", ":")
        moment = datetime.fromisoformat(unquote(text) if "%" in text else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def moderation_reasons(details: Mapping[str, JSON] | None) -> tuple[str, ...]:
    """Return the reasons that a moderated task's details list."""
    found = details.get("Moderation Reasons") if details is not None else None
    if isinstance(found, str):
        return (found,)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def result_path(task_id: str) -> str:
    """Return the path that answers for a task where no polling URL was given."""
    # Half a surrogate pair, which JSON can spell, has no bytes: the server is then asked for something else.
    return f"/v1/get_result?id={quote(task_id, safe='', errors='replace')}"


def http_date(text: str) -> float | None:
    """Return the Unix time of an HTTP date; None if it cannot be read.

    A date without a zone is in UTC, as the older forms of HTTP are. The library's own conversion would take it for
    this machine's local time.
    """
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait; None if there is no such header that can be read.

    Args:
        now: Unix time on this machine. A `Retry-After` that is a date comes from the server's clock, so it is
            compared with the reply's own `Date`, and with `now` only if the reply has none.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        then = http_date(text)
        if then is None:
            return None
        sent_at = http_date(headers.get("date", ""))
        seconds = then - (now if sent_at is None else sent_at)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S)


# The query is optional, so that a match takes the whole URL: looked for again from each "http" within, a long
# text would take the square of its length.
_URL = re.compile(r"(https?://[^\s?\"'<>]+)(\?[^\s\"'<>]*)?")


def _without_queries(text: str) -> str:
    return _URL.sub(lambda found: found[1] + ("" if found[2] is None else "?…"), text)


# No words are so long: an image that the server repeats. Looked for where a run begins only: see _URL.
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{200,}={0,2}")


def body_text(body: bytes) -> str:
    """Return a reply's text for an error: cut, without images and the queries of URLs, which may be signed."""
    text = body[: 4 * BODY_CHARS].decode("utf-8", "replace")
    return _without_data(text)[:BODY_CHARS]


def _without_data(text: str) -> str:
    return _BASE64.sub("…", _without_queries(text))


def detail_of(body: bytes, hidden: Iterable[str] = ()) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return what an error reply says: one line, and the (path, message) pairs of a validation error.

    Args:
        hidden: Texts that are not to be shown, such as the prompt, should the server repeat them.
    """
    data = json_object(body)
    detail = None if data is None else data.get("detail", data.get("message"))
    if isinstance(detail, str):
        return _line(detail, hidden)[:300], ()
    if isinstance(detail, list):
        pairs = tuple(_pair(item, hidden) for item in detail if isinstance(item, Mapping))
        return "; ".join(f"{path}: {message}" for path, message in pairs)[:600], pairs
    return "", ()


def _pair(item: Mapping[str, JSON], hidden: Iterable[str]) -> tuple[str, str]:
    loc = item.get("loc")
    parts = [str(part) for part in loc] if isinstance(loc, list) else []
    path = ".".join(parts[1:] if parts[:1] == ["body"] else parts) or "request"
    return path, _line(str(item.get("msg", "invalid")), hidden)


def _line(text: str, hidden: Iterable[str]) -> str:
    """The text on one line, without images and queries of URLs, and without what is hidden."""
    for secret in hidden:
        text = text.replace(secret, "…")
    return " ".join(_without_data(text).split())


_LEAST_HIDDEN_CHARS = 4  # shorter values, such as "jpeg" without its last letter, occur in any text
_MOST_HIDDEN_CHARS = 256 * 1024  # longer ones are images: they are known by their look, and not kept here


def texts_of(body: Mapping[str, JSON]) -> list[str]:
    """Return the texts of a request that an error is not to show, longest first."""
    texts = [
        value
        for name, value in body.items()
        if isinstance(value, str)
        and _LEAST_HIDDEN_CHARS <= len(value) <= _MOST_HIDDEN_CHARS
        and name != "output_format"
    ]
    return sorted(texts, key=len, reverse=True)


class HiddenTexts:
    """What `texts_of` returns, looked for when an error asks: most requests meet none."""

    __slots__ = ("_body",)

    def __init__(self, body: Mapping[str, JSON]) -> None:
        self._body = body

    def __iter__(self) -> Iterator[str]:
        return iter(texts_of(self._body))


def status_error(
    reply: Reply, *, what: str, now: float, model: str | None = None, hidden: Iterable[str] = ()
) -> APIStatusError:
    """Return the error of an HTTP status that is not 2xx.

    Args:
        what: What was asked, for the message: "the submit", "credits".
        now: Unix time, for a `Retry-After` that is a date.
        model: Named in the message of a 404 to a submit.
        hidden: Texts of the request, which the message is not to show.
    """
    code = reply.status_code
    said, errors = detail_of(reply.body, hidden)
    says = f": {said}" if said else ""
    retry_after = retry_after_s(reply.headers, now=now)
    text = body_text(reply.body)
    if code in (400, 422):
        return InvalidRequestError(
            f"{what} was refused as invalid (HTTP {code}){says}",
            status_code=code, body=text, retry_after_s=retry_after, errors=errors,
        )  # fmt: skip
    cls: type[APIStatusError] = RefusedError
    if code in (401, 403):
        cls = AuthenticationError
        message = f"{what} was refused (HTTP {code}){says}: check BFL_API_KEY and the key's permissions"
    elif code == 402:
        cls = InsufficientCreditsError
        message = (
            f"{what} was refused (HTTP 402){says}: the account is out of credits; top it up and try again"
        )
    elif code == 404 and model is not None:
        message = f"the server knows no model {model!r} (HTTP 404){says}: check the name and the base URL"
    elif code == 429:
        cls = RateLimitedError
        message = f"{what} was refused (HTTP 429){says}: too many active tasks or calls; try again later"
    elif code >= 500:
        cls = ServerError
        message = f"{what} failed on the server (HTTP {code}){says}: try again later"
    else:
        message = f"{what} was refused (HTTP {code}){says}"
    return cls(message, status_code=code, body=text, retry_after_s=retry_after)
