"""Answers to a submit that are the result itself, as hosts send them that wait for its end. Pure.

Shapes: `{"data": [{"b64_json": "..."}]}` (Azure AI Foundry, and all that speak the OpenAI images format), the same with
`url`, and `{"status": "Ready", "result": {"sample": "https://..."}}` (BFL's polls). Source: public clients of such
hosts, read in November 2026; none was tried. The names that other gateways are known to use are read as well.

Everything is untrusted. An answer of some MB is not parsed whole: its long texts are cut out of it first, what is left
has the bounds of any receipt, and the texts are decoded in pieces. Run in a thread, it then never holds the interpreter
for more than a few milliseconds.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice

from bfl_async.status import TaskStatus
from bfl_async.types import bounds as _bounds
from bfl_async.types.common import JSON
from bfl_async.types.held import HeldImage, new_own_id
from bfl_async.types.replies import Immediate, PollReply, Receipt, Reply
from bfl_async.wire.encoding import dump_json
from bfl_async.wire.json import read_body
from bfl_async.wire.replies import parse_cost, status_of, task_id_of

# What an image may have, as a download.
_IMAGE_BYTES = 64 * 2**20
# Images of one answer that are looked at.
_MOST_IMAGES = 16
# A text of base64 that is longer is cut out before the rest is parsed.
_LONG_CHARS = 4_096
# Quotes that are looked at, and backslashes in a row before one.
_MOST_QUOTES, _MOST_BACKSLASHES = 20_000, 256
# Base64 that is decoded at a time: the interpreter is held meanwhile.
_PIECE_BYTES = 2**17
_MOST_URL_CHARS = 16_384

_BASE64_HEAD = rb'"(?:data:[\w/+.;=-]{1,100},)?((?:[A-Za-z0-9+/_-]|\\/|\\u00[0-9A-Fa-f]{2}){64})'
# Beginnings of base64 that are looked at, in what has come of an answer.
_MOST_HEADS = 100
# How the media that a result can be begin. It only tells base64 from other texts: the bytes are checked when they are
# read, as those of a download.
_MEDIUM = rb"(?s)\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|....ftyp|\0\0\0\x0cJXL |\xff\x0a"
_DATA_URL = rb"data:[\w/+.;=-]{0,100};base64,"

# Where an answer may hold images, from the most usual.
_PLACES = ("data", "result", "samples", "images", "image", "output", "outputs")
# Objects within objects that are looked into.
_DEPTH = 3
# Names that say base64, names that may be anything, and those of URLs.
_BASE64_NAMES = ("b64_json", "base64", "b64", "image_base64")
_ANY_NAMES = ("sample", "image", "data", "content")
_URL_NAMES = ("url", "image_url")
# Words for an end that are not BFL's.
_DONE = frozenset({"success", "succeeded", "successful", "completed", "complete", "done", "finished", "ok"})


def immediate_of(reply: Reply, receipt: Receipt | None) -> Immediate | None:
    """Return the result that a submit's reply of 2xx holds; None if it holds none.

    Args:
        receipt: What the reply says of a task. One with a polling URL is followed, whatever else it holds.
    """
    if receipt is not None and receipt.polling_url is not None:
        return None
    texts: list[memoryview] = []
    body = reply.body
    if len(body) > _bounds.RECEIPT.max_bytes:
        cut = _without_texts(body, texts)
        if cut is None:
            return None
        body = cut
    found = read_body(body, _bounds.RECEIPT).data
    if found is None or not _has_ended(found):
        return None
    data = dict(found)
    reader = _Reader(texts)
    images = tuple(dict.fromkeys(reader.images_in(data)))
    if not images or (receipt is not None and not _is_sure(data, images[0])):
        return None
    facts = {name: value for name, value in reader.facts.items() if name not in ("sample", "samples")}
    if isinstance(images[0], str):
        facts["sample"] = images[0]
    poll = PollReply(TaskStatus.READY, None, facts, None, parse_cost(data.get("cost")), data)
    # An id can be asked for where the body is what a poll answers.
    is_poll = isinstance(data.get("result"), dict) and _status(data) == TaskStatus.READY
    task_id = receipt.task_id if receipt is not None and is_poll else new_own_id()
    return Immediate(task_id, poll, images, reply._replace(body=_dumped(data)))


def _is_sure(data: Mapping[str, JSON], image: HeldImage | str) -> bool:
    """Return whether an answer with an id is the result: a URL alone may be an input that it repeats."""
    return isinstance(image, HeldImage) or _status(data) is not None or isinstance(data.get("data"), list)


def may_hold_image(beginning: bytes) -> bool:
    """Return whether base64 of an image or a video begins in what has come of an answer: all others are far smaller."""
    heads = re.finditer(_BASE64_HEAD, beginning[: _bounds.RECEIPT.max_bytes])
    return any(
        re.match(_MEDIUM, decode_base64(memoryview(head[1])) or b"") for head in islice(heads, _MOST_HEADS)
    )


def _dumped(data: Mapping[str, JSON]) -> bytes:
    try:
        return dump_json(data)
    except (ValueError, RecursionError):
        # NaN, or half of a surrogate pair.
        return b""


def _status(data: Mapping[str, JSON]) -> TaskStatus | str | None:
    word = data.get("status") or data.get("state")
    return status_of(word) if isinstance(word, str) and word.strip() else None


def _has_ended(data: Mapping[str, JSON]) -> bool:
    """Return whether an answer may hold a result: it reports no error, and no status but a good end."""
    if data.get("error") or data.get("success") is False:
        return False
    status = _status(data)
    return status is None or status == TaskStatus.READY or str(status).strip().lower() in _DONE


def _without_texts(body: bytes, texts: list[memoryview]) -> bytes | None:
    """Return a body with a short note in the place of each long base64, which is added to `texts`.

    None if it has too many texts, or one without an end.
    """
    kept: list[bytes] = []
    view = memoryview(body)
    start = at = 0
    for _ in range(_MOST_QUOTES):
        begin = body.find(b'"', at)
        if begin < 0:
            kept.append(body[start:])
            return b"".join(kept)
        end = _end_of_text(body, begin + 1)
        if end is None:
            return None
        if end - begin > _LONG_CHARS and re.match(_BASE64_HEAD, body[begin : begin + 600]):
            kept.append(body[start : begin + 1] + _note(len(texts), end - begin - 1).encode())
            texts.append(view[begin + 1 : end])
            start = end
        at = end + 1
    return None


def _end_of_text(body: bytes, at: int) -> int | None:
    """Return the place of the quote that ends a text; None if there is none within the bounds."""
    for _ in range(_MOST_QUOTES):
        end = body.find(b'"', at)
        if end < 0:
            return None
        before = body[max(at, end - _MOST_BACKSLASHES) : end]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes == _MOST_BACKSLASHES:
            return None
        if backslashes % 2 == 0:
            return end
        at = end + 1
    return None


def _note(number: int, chars: int) -> str:
    """What stands in an answer in the place of base64. `_Reader` finds the text by its number."""
    return f"(base64 no. {number}, {chars} characters, taken out)"


_NOTE = r"\(base64 no\. ([0-9]{1,5}), [0-9]{1,12} characters, taken out\)"


class _Reader:
    """Finds the images of an answer, and puts a note in the place of each base64.

    Args:
        texts: What was cut out before. A note of the server's own leads to one of them, or nowhere.
    """

    def __init__(self, texts: list[memoryview]) -> None:
        self._texts = texts
        # What the texts are, by number: a note may be repeated, and its text is decoded once.
        self._known: dict[int, HeldImage | None] = {}
        # What the answer says of the first image.
        self.facts: dict[str, JSON] = {}

    def images_in(self, data: dict[str, JSON]) -> Iterator[HeldImage | str]:
        """Yield the images, bytes or URLs, in their order."""
        count = 0
        # At the top a URL may be anything, such as that of the documentation.
        for node, may_be_url in chain(((data, False),), self._nodes(data, _DEPTH)):
            image = self._take(node, may_be_url=may_be_url) if count < _MOST_IMAGES else None
            if image is None:
                continue
            if count == 0 and node is not data:
                self.facts = _facts_of(node)
            count += 1
            yield image

    def _nodes(self, data: dict[str, JSON], depth: int) -> Iterator[tuple[dict[str, JSON], bool]]:
        """Yield the objects that may be or hold an image, and whether a URL of theirs may be one."""
        for name in _PLACES:
            found = data.get(name)
            if isinstance(found, str):
                if name in _ANY_NAMES and not _is_url(found):
                    # Looked at already, with the object that it is in.
                    continue
                wrapped: dict[str, JSON] = {"sample": found}
                yield wrapped, True
                data[name] = wrapped["sample"]
            elif isinstance(found, list):
                yield from self._listed(found)
            elif isinstance(found, dict) and depth and _has_ended(found):
                # A receipt may be wrapped as well: the URL beside an id is then that of a page.
                yield found, _status(found) is not None or task_id_of(found) is None
                yield from self._nodes(found, depth - 1)

    @staticmethod
    def _listed(found: list[JSON]) -> Iterator[tuple[dict[str, JSON], bool]]:
        # More than are looked at are not taken: some hold nothing.
        for at, item in enumerate(found[: 4 * _MOST_IMAGES]):
            if isinstance(item, dict) and _has_ended(item):
                yield item, True
            elif isinstance(item, str):
                # A list of texts is read as one of objects, and gets what is left of them.
                wrapped: dict[str, JSON] = {"sample": item}
                yield wrapped, True
                found[at] = wrapped["sample"]

    def _take(self, node: dict[str, JSON], *, may_be_url: bool) -> HeldImage | str | None:
        for name in (*_BASE64_NAMES, *_ANY_NAMES):
            text = node.get(name)
            if not isinstance(text, str) or not text:
                continue
            is_sure = name in _BASE64_NAMES or text.startswith("data:")
            image = self._decoded(text, is_sure=is_sure)
            if image is not None:
                if not re.fullmatch(_NOTE, text):
                    node[name] = _note(len(self._texts), len(text))
                return image
        for name in (*_ANY_NAMES, *_URL_NAMES) if may_be_url else ():
            text = node.get(name)
            if isinstance(text, str) and _is_url(text):
                return text
        return None

    def _decoded(self, text: str, *, is_sure: bool) -> HeldImage | None:
        note = re.fullmatch(_NOTE, text)
        if note is not None:
            image = self._text(int(note[1]))
        else:
            try:
                image = _image_of(decode_base64(memoryview(text.encode("ascii"))))
            except UnicodeEncodeError:
                return None
        return image if image is not None and (is_sure or re.match(_MEDIUM, image.data)) else None

    def _text(self, number: int) -> HeldImage | None:
        if number not in self._known:
            text = self._texts[number] if number < len(self._texts) else memoryview(b"")
            self._known[number] = _image_of(decode_base64(text))
        return self._known[number]


def _image_of(data: bytes | None) -> HeldImage | None:
    return HeldImage(data) if data else None


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://")) and len(text) <= _MOST_URL_CHARS and "\ufffd" not in text


def _facts_of(node: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what an image's object says of it, by BFL's names."""
    facts = dict(node)
    prompt = node.get("revised_prompt")
    if "prompt" not in facts and isinstance(prompt, str):
        facts["prompt"] = prompt
    return facts


# How JSON may escape what stands in base64. .NET writes "+" as an escape, PHP "/".
_ESCAPES = (
    (b"\\/", b"/"), (b"\\u002B", b"+"), (b"\\u002b", b"+"), (b"\\u002F", b"/"), (b"\\u002f", b"/"),
    (b"\\u003D", b"="), (b"\\u003d", b"="), (b"\\n", b""), (b"\\r", b""), (b"\\t", b""),
)  # fmt: skip
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def decode_base64(text: memoryview) -> bytes | None:
    """Return the bytes of base64, as it stands in JSON or in a data URL; None if it is not that, or has over 64 MiB.

    Escapes, line breaks, the alphabet of URLs and missing padding are taken.
    """
    prefix = re.match(_DATA_URL, text[:128])
    if prefix is not None:
        text = text[prefix.end() :]
    if len(text) > 2 * _IMAGE_BYTES:
        return None
    out = io.BytesIO()
    escaped = plain = b""
    for at in range(0, len(text), _PIECE_BYTES):
        escaped += text[at : at + _PIECE_BYTES]
        # An escape may be cut in two.
        cut = escaped.rfind(b"\\", max(0, len(escaped) - 5)) if at + _PIECE_BYTES < len(text) else -1
        piece, escaped = (escaped, b"") if cut < 0 else (escaped[:cut], escaped[cut:])
        plain += _unescaped(piece)
        whole = len(plain) // 4 * 4
        decoded = _strict(plain[:whole])
        if decoded is None or out.tell() + len(decoded) > _IMAGE_BYTES:
            return None
        if (
            decoded
            and whole
            and plain[whole - 1 : whole] == b"="
            and (plain[whole:] or at + _PIECE_BYTES < len(text))
        ):
            # Padding is the end.
            return None
        out.write(decoded)
        plain = plain[whole:]
    last = _strict(plain + b"=" * (-len(plain) % 4))
    if last is None:
        return None
    out.write(last)
    return out.getvalue()


def _unescaped(piece: bytes) -> bytes:
    if b"\\" in piece:
        for escape, plain in _ESCAPES:
            piece = piece.replace(escape, plain)
    return piece.translate(_FROM_URL_SAFE, b" \r\n\t")


def _strict(piece: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(piece, strict_mode=True) if piece else b""
    except binascii.Error:
        return None
