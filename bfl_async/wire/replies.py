"""Replies: bytes to values, leniently. Pure functions; nothing here decides what happens next.

Facts of the API, each met in recorded traffic or official samples (read 2026-09-25): `status` is sometimes
`state`; `detail` is a string or a list; `cost` is null or carries float noise (7.000000000000001); a status
body may stand under 422 and 503; with a webhook the submit's answer has no `polling_url`; results hold more
than `sample`, and newer ones `samples`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from bfl_async.runtime.text import MAX_TEXT, printable
from bfl_async.status import TaskStatus, status_from
from bfl_async.types import bounds as _bounds
from bfl_async.types.common import JSON
from bfl_async.types.held import is_own_id
from bfl_async.types.replies import PollReply, Receipt
from bfl_async.wire.json import number_of, read_body
from bfl_async.wire.redaction import HiddenTexts, hide


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
            if is_own_id(kept):
                # Ours are never the server's.
                return f"server:{kept}", False
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
    result, details = data.get("result"), data.get("details")
    return PollReply(
        status_of(word),
        number_of(data.get("progress")),
        result if isinstance(result, dict) else None,
        details if isinstance(details, dict) else None,
        parse_cost(data.get("cost")),
        data,
    )


def parse_cost(value: JSON) -> float | None:
    """Return a cost in credits without float noise; None where none is stated."""
    number = number_of(value)
    if number is None or number < 0:
        return None
    return number if number.is_integer() else round(number, 6)


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
