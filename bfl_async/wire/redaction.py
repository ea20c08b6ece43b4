"""What an error may keep of a reply: no key, no signed URL, no image, no text of the request."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice

from bfl_async.runtime.text import MAX_TEXT, printable
from bfl_async.types.bounds import MAX_ERROR_PAIRS
from bfl_async.types.common import JSON
from bfl_async.wire.json import Content

# No words are so long: an image that the server repeats. Looked for where a run begins only: see _URL.
_BASE64 = r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{200,}={0,2}"


BODY_CHARS = 2_000  # of a reply's text that an error keeps


# The query is optional, so that a match takes the whole URL: looked for again from each "http" within, a long
# text would take the square of its length.
_URL = r"(https?://[^\s?\"'<>]+)(\?[^\s\"'<>]*)?"


def _without_queries(text: str) -> str:
    return re.sub(_URL, lambda found: found[1] + ("" if found[2] is None else "?…"), text)


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
    return re.sub(_BASE64, "…", _without_queries(text))


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


# Headers with the server's name for an exchange, the API's own first: Azure Front Door stands before it. The others are
# those of the image hosts and of common gateways.
_REQUEST_IDS = (
    "x-request-id", "request-id", "x-correlation-id", "x-azure-ref", "x-ms-request-id", "apim-request-id",
    "x-amzn-requestid", "x-amz-request-id", "x-goog-request-id", "cf-ray", "x-trace-id",
)  # fmt: skip
_MAX_REQUEST_ID = 128


def request_id_of(headers: Mapping[str, str], hidden: HiddenTexts | None = None) -> str | None:
    """Return the server's name for an exchange, on one line of at most 128 characters; None where it sent none.

    Args:
        hidden: Texts that must not be shown, should the server repeat them.
    """
    for name in _REQUEST_IDS:
        if text := _line(headers.get(name, ""), hidden, _MAX_REQUEST_ID):
            return text
    return None


# Shorter values, such as "jpeg" without its last letter, occur in any text.
_LEAST_HIDDEN_CHARS = 4


# Longer ones are images: they are recognised by their look, and not kept here.
_MOST_HIDDEN_CHARS = 32 * 1024


# Of all texts of a request together.
_MOST_COMPARED_CHARS = 64 * 1024


# Values of a request that are looked through for texts.
_MOST_VALUES = 1_000


# Letters and digits in a row that are the same as in a hidden text are recognised from so many on.
_STRETCH = 12


def texts_in(body: Mapping[str, object]) -> dict[str, str]:
    """Return the texts of a request that an error must not show, by field."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, object]] = list(body.items())
    # What is added within the loop is looked at as well: the values of lists and objects.
    for name, value in waiting:
        if isinstance(value, str):
            if _LEAST_HIDDEN_CHARS <= len(value) <= _MOST_HIDDEN_CHARS and name != "output_format":
                found[name] = value
        elif len(waiting) < _MOST_VALUES:
            if isinstance(value, Mapping):
                waiting += ((f"{name}.{key}", part) for key, part in islice(value.items(), _MOST_VALUES))
            elif isinstance(value, list | tuple):
                waiting += ((f"{name}.{at}", part) for at, part in enumerate(value[:_MOST_VALUES]))
    return found


class HiddenTexts:
    """Texts of a request that no error, log record or span shows.

    Made where an error is made, and only there: preparing a prompt takes some hundredths of a millisecond, which a task
    that succeeds must not pay.
    """

    __slots__ = ("stretches", "words")

    def __init__(self, body: Mapping[str, object]) -> None:
        # Runs of `_STRETCH` letters and digits, and whole texts that are shorter.
        self.stretches: set[str] = set()
        self.words: list[str] = []
        left = _MOST_COMPARED_CHARS
        for text in sorted(texts_in(body).values(), key=len):
            left -= len(text)
            if left < 0:
                break
            folded = "".join(word for word, _, _ in _words(unicodedata.normalize("NFKC", text)))
            if len(folded) >= _STRETCH:
                self.stretches.update(folded[at : at + _STRETCH] for at in range(len(folded) - _STRETCH + 1))
            elif len(folded) >= _LEAST_HIDDEN_CHARS:
                self.words.append(folded)

    @classmethod
    def of(cls, request: object) -> HiddenTexts | None:
        """Return the texts of a request's fields, without reading or encoding a file; None without a request."""
        if request is None:
            return None
        return cls({**vars(request), **(getattr(request, "__pydantic_extra__", None) or {})})


_WORD = r"[^\W_]+"


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """The words of a text in one case, each with its place."""
    return ((found[0].casefold(), found.start(), found.end()) for found in re.finditer(_WORD, text))


def hide(text: str, hidden: HiddenTexts | None) -> str:
    """Return a text with an ellipsis for what is the same as in a hidden text.

    Only letters and digits are compared, in one case and one form of Unicode: white space, punctuation and escapes make
    no difference. Found are whole texts, and parts of them from `_STRETCH` letters and digits on.

    Args:
        text: Cut by the caller; the time that this takes depends on its length.
    """
    if hidden is None or not text:
        return text
    stretches, words = hidden.stretches, hidden.words
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
