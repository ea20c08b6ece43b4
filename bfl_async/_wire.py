"""Replies: bytes to values, leniently. Pure functions; nothing here decides what happens next.

Facts of the API, each met in recorded traffic or official samples (read 2026-09-25): `status` is sometimes
`state`; `detail` is a string or a list; `cost` is null or carries float noise (7.000000000000001); a status
body may stand under 422 and 503; with a webhook the submit's answer has no `polling_url`; results hold more
than `sample`, and newer ones `samples`.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import NamedTuple, cast
from urllib.parse import quote, unquote

from pydantic_core import from_json

from bfl_async import _bounds
from bfl_async._bounds import MAX_DEPTH, MAX_ERROR_PAIRS, Bounds, is_within
from bfl_async._text import MAX_TEXT, printable
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


class Content(NamedTuple):
    """What a reply's body holds."""

    # The object. None if the body holds another value, breaks off, or is beyond the bounds.
    data: Mapping[str, JSON] | None
    # Whether the body is JSON without any flaw: the API itself answered, not a gateway in front of it.
    is_json: bool


_NOTHING = Content(None, False)
# Only so much is read by a second parser, to find out whether it is JSON that the first one does not take.
_SECOND_PARSE_BYTES = 4 * 2**10


def read_body(body: bytes, bounds: Bounds) -> Content:
    """Parse a reply's body, once. Every reply, receipt, error and delivery is read here.

    A flaw in one field does not cost the others, because a paid task may depend on them: see `_repaired`. But
    `is_json` is strict. A 503 with JSON proves that no task exists, so its submit is sent again: a wrong yes pays
    twice, a wrong no only reports an ambiguous submit.
    """
    if not is_within(body, bounds):
        return _NOTHING
    try:
        value: object = from_json(body)
    except ValueError:
        return Content(_repaired(body), len(body) <= _SECOND_PARSE_BYTES and _is_strict(body))
    if not isinstance(value, dict):
        return Content(None, True)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _prune(value)
    return Content(cast("Mapping[str, JSON]", value), True)


def _is_strict(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body without its Content-Encoding, of which at most `max_bytes` + 1 bytes are made.

    Raises:
        ValueError: It is not what its header says, breaks off, or has an encoding that was not asked for.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip"):
        wbits = 16 + zlib.MAX_WBITS
    elif encoding == "deflate":
        # Some servers leave out the header of zlib.
        wbits = zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS
    else:
        raise ValueError("an encoding that was not asked for")
    unpacking = zlib.decompressobj(wbits)
    try:
        unpacked = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise ValueError("not what its Content-Encoding says") from exc
    if len(unpacked) <= max_bytes and not unpacking.eof:
        raise ValueError("it breaks off")
    return unpacked


def json_object(body: bytes, bounds: Bounds = _bounds.DELIVERY) -> Mapping[str, JSON] | None:
    """Return the JSON object in `body`, or None; see `read_body`."""
    return read_body(body, bounds).data


_TOO_DEEP = "…"


def _prune(value: dict[str, JSON]) -> None:
    """Take out of a value, in place, what is nested deeper than `MAX_DEPTH`."""
    level: list[dict[str, JSON] | list[JSON]] = [value]
    for _ in range(MAX_DEPTH - 1):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    for node in level:
        places: Iterable[tuple[str | int, JSON]] = node.items() if isinstance(node, dict) else enumerate(node)
        for place in [place for place, child in places if isinstance(child, dict | list)]:
            node[place] = _TOO_DEEP  # type: ignore[index]  # a dict has texts as places, a list numbers


# Bounds the work in Python on a hostile body to a few ms. The rest runs at the speed of C, in linear time.
_MOST_REPAIRS = 10_000
_MOST_ESCAPES = 2_000
# Every Python reads an integer of this many digits; more may raise ValueError, in reading and in writing.
_MOST_DIGITS = 640


def _repaired(body: bytes) -> Mapping[str, JSON] | None:
    """Read an object that is not quite JSON; None if there is no whole object at the start of `body`.

    Bytes that are not UTF-8 become U+FFFD. Control characters and backslashes that begin no escape count as
    themselves. An integer that Python would not read becomes its text. A value nested deeper than `MAX_DEPTH` becomes
    "…". Text after the object is ignored.

    The flaws are repaired in the text, and the repaired text is read by the standard library.
    """
    # JSON is UTF-8 (RFC 8259). A key that a reply repeats in another encoding would also not be found in it.
    text = _decoded(body)
    if text is None or not text.startswith("{"):
        return None
    found = _first_object(text)
    if found is None:
        return None
    try:
        found, repairs = _STRAY_BACKSLASHES.subn(_escaped, found, count=_MOST_ESCAPES)
        if repairs == _MOST_ESCAPES:
            return None
        # With a function for integers, reading many of them takes five times as long.
        decoder = _LENIENT if _LONG_INTEGER.search(found) is None else _LENIENT_WITH_LONG_INTEGERS
        value: object = decoder.decode(found)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, JSON]", value)


_DECODED_BYTES = 16 * 2**10
_MOST_BAD_BYTES = 5_000


def _decoded(body: bytes) -> str | None:
    """Return a body as text, with U+FFFD for bytes that are not UTF-8; None if there are too many of those."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    parts: list[str] = []
    bad = 0
    for at in range(0, len(body), _DECODED_BYTES):
        parts.append(decoder.decode(body[at : at + _DECODED_BYTES]))
        bad += parts[-1].count("\ufffd")
        # Replacing a byte takes a hundred times as long as copying one.
        if bad > _MOST_BAD_BYTES:
            return None
    return ("".join(parts) + decoder.decode(b"", final=True)).lstrip()


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
    """Return the object at the start of `text`, with "…" for what is nested deeper than `MAX_DEPTH`.

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
            if depth <= MAX_DEPTH < depth + count:
                kept += text[start : at + MAX_DEPTH - depth], f'"{_TOO_DEEP}"'
            depth += count
        else:
            if depth - count <= MAX_DEPTH < depth:
                start = at + depth - MAX_DEPTH
            if depth <= count:
                return "".join((*kept, text[start : at + depth]))
            depth -= count
    return None


def _is_damaged(text: str) -> bool:
    """Return whether a text lost bytes that were not UTF-8. A field that is needed then counts as missing."""
    return "\ufffd" in text


def _shown_id(text: str) -> str:
    """Return an id as it is kept: at most 200 printable characters, since it appears in logs and errors."""
    return text if len(text) <= MAX_TEXT and text.isprintable() else printable(text)


def task_id_of(data: Mapping[str, JSON]) -> tuple[str, bool] | None:
    """Return the task id in a reply, and whether it is whole; None if the reply names no task.

    One that was cut, escaped or damaged no longer leads to the task.
    """
    for name in ("id", "task_id"):
        found = data.get(name)
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**30:
            found = str(found)
        if isinstance(found, str) and found.strip():
            kept = _shown_id(found)
            return kept, kept == found and not _is_damaged(kept)
    return None


def receipt_of(data: Mapping[str, JSON] | None) -> Receipt | None:
    """Return the receipt that a submit's reply holds; None if it names no task."""
    found = None if data is None else task_id_of(data)
    if data is None or found is None:
        return None
    task_id, is_whole = found
    url = data.get("polling_url")
    if not isinstance(url, str) or not url or _is_damaged(url):
        # The task is then polled by its id.
        if not is_whole:
            return None
        url = None
    return Receipt(task_id, url, parse_cost(data.get("cost")))


def makes_task(data: Mapping[str, JSON] | None) -> bool:
    """Return whether a reply tells of a task: an id, and where its end will be reported."""
    return (
        data is not None and bool(data.get("id")) and bool(data.get("polling_url") or data.get("webhook_url"))
    )


_KNOWN_WORDS = {status.value.lower(): status for status in TaskStatus}


def status_of(word: str) -> TaskStatus | str:
    """Return the status that a server's word names, or the word itself if this release does not know it.

    Case and surrounding white space make no difference: "FAILED" cannot mean anything but Failed. Taken for an
    unknown word, it would count as in flight, and an ended task would be polled until its deadline.
    """
    status = status_from(word)
    # Nearly always the word is exact.
    if isinstance(status, TaskStatus):
        return status
    # The longest known word is far shorter.
    word = _shown_id(word) if len(word) > MAX_TEXT else word
    return _KNOWN_WORDS.get(word.strip().lower()) or _shown_id(word)


_PLAIN_STATUS = re.compile(r"[A-Za-z ]{1,40}")


def shown_status(status: str) -> str:
    """Return a status for a log record or a message. A word that is not plain may be anything, such as the prompt."""
    return str(status) if _PLAIN_STATUS.fullmatch(status) else "(not shown)"


def parse_poll(body: bytes) -> PollReply | None:
    """Return the status in a poll's reply, whatever its HTTP code; None when there is none."""
    return poll_of(read_body(body, _bounds.POLL).data)


def poll_of(data: Mapping[str, JSON] | None) -> PollReply | None:
    """Return the status that a reply holds; None if it holds no status."""
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


_MAX_REASONS = 20


def moderation_reasons(
    details: Mapping[str, JSON] | None, hidden: HiddenTexts | None = None
) -> tuple[str, ...]:
    """Return the reasons that a moderated task's details list: at most 20, of at most 200 characters."""
    found = details.get("Moderation Reasons") if details is not None else None
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        return ()
    texts = [item for item in found if isinstance(item, str)]
    return tuple(printable(hide(text[: 4 * MAX_TEXT], hidden)) for text in texts[:_MAX_REASONS])


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


def body_text(body: bytes, content: Content | None = None, hidden: HiddenTexts | None = None) -> str:
    """Return a reply's text for an error: cut, without images and the queries of URLs, which may be signed.

    Args:
        content: What `read_body` found in it. What a validation error repeats of the request is then left out.
        hidden: Texts that must not be shown.
    """
    data = None if content is None else content.data
    if data is None or (hidden is None and not isinstance(data.get("detail"), list)):
        text = body[: 2 * BODY_CHARS].decode("utf-8", "replace")
    else:
        # Written again, so that no escape hides a text from `hide`.
        text = json.dumps(_without_inputs(data), ensure_ascii=False)[: 2 * BODY_CHARS]
        text = text.encode("utf-8", "replace").decode()
    return _without_data(hide(text, hidden))[:BODY_CHARS]


def _without_inputs(data: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Return an error's object without what its pairs repeat of the request."""
    detail = data.get("detail")
    if not isinstance(detail, list):
        return data
    kept: list[JSON] = [
        {name: value for name, value in item.items() if name not in ("input", "ctx")}
        if isinstance(item, dict)
        else item
        for item in detail[:MAX_ERROR_PAIRS]
    ]
    return {**data, "detail": kept}


def _without_data(text: str) -> str:
    return _BASE64.sub("…", _without_queries(text))


# Of all messages together that are read of one error.
_MAX_PAIR_CHARS = 4_000


def detail_of(
    data: Mapping[str, JSON] | None, hidden: HiddenTexts | None = None
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return what an error reply says: one line, and the (path, message) pairs of a validation error.

    Args:
        hidden: Texts that must not be shown, such as the prompt, should the server repeat them.
    """
    detail = None if data is None else data.get("detail", data.get("message"))
    if isinstance(detail, str):
        return _line(detail, hidden, 300), ()
    if isinstance(detail, list):
        pairs: list[tuple[str, str]] = []
        chars = 0
        for item in detail[:MAX_ERROR_PAIRS]:
            if isinstance(item, Mapping) and chars <= _MAX_PAIR_CHARS:
                path, message = _pair(item)
                # What is read counts, not what is left of it.
                chars += len(path) + len(message)
                pairs.append((_line(path, hidden, MAX_TEXT) or "request", _line(message, hidden, MAX_TEXT)))
        text = "; ".join(f"{path}: {message}" for path, message in pairs[:10])
        return text if len(text) <= 600 else f"{text[:599]}…", tuple(pairs)
    return "", ()


def _pair(item: Mapping[str, JSON]) -> tuple[str, str]:
    loc = item.get("loc")
    parts = [_part(part) for part in loc[:20]] if isinstance(loc, list) else []
    path = ".".join(parts[1:] if parts[:1] == ["body"] else parts)
    return path[: 4 * MAX_TEXT], _part(item.get("msg", "invalid"))


def _part(value: JSON) -> str:
    """Return a text, or a number as one. Nothing else is written out."""
    if isinstance(value, str):
        return value[: 4 * MAX_TEXT]
    return str(value) if isinstance(value, int) and abs(value) < 10**30 else "…"


def _line(text: str, hidden: HiddenTexts | None, limit: int) -> str:
    """Return the text on one line, without images and queries of URLs, and without what is hidden."""
    return printable(_without_data(hide(text[: 2 * limit], hidden)), limit)


# Shorter values, such as "jpeg" without its last letter, occur in any text.
_LEAST_HIDDEN_CHARS = 4
# Longer ones are images: they are recognised by their look, and not kept here.
_MOST_HIDDEN_CHARS = 32 * 1024
# Of all texts of a request together.
_MOST_COMPARED_CHARS = 64 * 1024
# Letters and digits in a row that are the same as in a hidden text are recognised from so many on.
_STRETCH = 12


def texts_in(body: Mapping[str, object]) -> dict[str, str]:
    """Return the texts of a request that an error must not show, by field."""
    return {
        name: value
        for name, value in body.items()
        if isinstance(value, str)
        and _LEAST_HIDDEN_CHARS <= len(value) <= _MOST_HIDDEN_CHARS
        and name != "output_format"
    }


class HiddenTexts:
    """Texts of a request that no error, log record or span shows. They are prepared when they are first needed."""

    __slots__ = ("_body", "_stretches", "_words")

    def __init__(self, body: Mapping[str, object]) -> None:
        self._body = body
        # Runs of `_STRETCH` letters and digits, and whole texts that are shorter.
        self._stretches: set[str] | None = None
        self._words: list[str] = []

    @classmethod
    def of(cls, request: object) -> HiddenTexts | None:
        """Return the texts of a request's fields, without reading or encoding a file; None without a request."""
        if request is None:
            return None
        return cls({**vars(request), **(getattr(request, "__pydantic_extra__", None) or {})})

    def prepared(self) -> tuple[set[str], list[str]]:
        """Return the stretches of the texts, and the texts that are shorter than one."""
        if self._stretches is None:
            self._stretches = set()
            left = _MOST_COMPARED_CHARS
            for text in sorted(texts_in(self._body).values(), key=len):
                left -= len(text)
                if left < 0:
                    break
                folded = "".join(word for word, _, _ in _words(unicodedata.normalize("NFKC", text)))
                if len(folded) >= _STRETCH:
                    self._stretches.update(
                        folded[at : at + _STRETCH] for at in range(len(folded) - _STRETCH + 1)
                    )
                elif len(folded) >= _LEAST_HIDDEN_CHARS:
                    self._words.append(folded)
        return self._stretches, self._words


_WORD = re.compile(r"[^\W_]+")


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """The words of a text in one case, each with its place."""
    return ((found[0].casefold(), found.start(), found.end()) for found in _WORD.finditer(text))


def hide(text: str, hidden: HiddenTexts | None) -> str:
    """Return a text with an ellipsis for what is the same as in a hidden text.

    Only letters and digits are compared, in one case and one form of Unicode: white space, punctuation and escapes make
    no difference. Found are whole texts, and parts of them from `_STRETCH` letters and digits on.

    Args:
        text: Cut by the caller; the time that this takes depends on its length.
    """
    if hidden is None or not text:
        return text
    stretches, words = hidden.prepared()
    if not stretches and not words:
        return text
    normal = unicodedata.normalize("NFKC", text)[: 2 * len(text)]
    folded: list[str] = []
    places: list[tuple[int, int, int]] = []
    length = 0
    for word, start, end in _words(normal):
        folded.append(word)
        length += len(word)
        places.append((length, start, end))
    line = "".join(folded)
    spans = [
        (at, at + _STRETCH) for at in range(len(line) - _STRETCH + 1) if line[at : at + _STRETCH] in stretches
    ]
    ends = {0, *(end for end, _, _ in places)}
    for word in words:
        at = line.find(word)
        while at >= 0:
            # A short text within a longer word is a coincidence.
            if at in ends and at + len(word) in ends:
                spans.append((at, at + len(word)))
            at = line.find(word, at + 1)
    if not spans:
        return text
    spans.sort()
    merged = [spans[0]]
    for first, last in spans:
        if first > merged[-1][1]:
            merged.append((first, last))
        elif last > merged[-1][1]:
            merged[-1] = (merged[-1][0], last)
    return _cut_out(normal, places, merged)


def _cut_out(text: str, places: list[tuple[int, int, int]], spans: list[tuple[int, int]]) -> str:
    """Replace the words that `spans` touch.

    Args:
        places: Of each word: where it ends among the words alone, and its start and end in the text.
        spans: Starts and ends among the words alone, in order.
    """
    kept: list[str] = []
    done = 0
    word = 0
    for first, last in spans:
        while places[word][0] <= first:
            word += 1
        start = places[word][1]
        at = word
        while places[at][0] < last:
            at += 1
        end = places[at][2]
        if end <= done:
            continue
        if start > done or not kept:
            kept += text[done:start], "…"
        done = end
    kept.append(text[done:])
    return "".join(kept)


def status_error(
    reply: Reply,
    *,
    what: str,
    now: float,
    model: str | None = None,
    hidden: HiddenTexts | None = None,
    content: Content | None = None,
) -> APIStatusError:
    """Return the error of an HTTP status that is not 2xx.

    Args:
        what: What was asked, for the message: "the submit", "credits".
        now: Unix time, for a `Retry-After` that is a date.
        model: Named in the message of a 404 to a submit.
        hidden: Texts of the request, which the message must not show.
        content: What `read_body` found in the reply, where that was done.
    """
    code = reply.status_code
    if content is None:
        content = read_body(reply.body, _bounds.ERROR)
    said, errors = detail_of(content.data, hidden)
    says = f": {said}" if said else ""
    retry_after = retry_after_s(reply.headers, now=now)
    text = body_text(reply.body, content, hidden)
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
