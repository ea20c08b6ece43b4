"""What went over the wire, and in plain words where two servers answered the same calls differently."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bfl_async import TaskStatus
from bfl_async.types import Reply, Transport


class Difference(NamedTuple):
    """One row of the report: what was looked at, and what each of the two answered."""

    what: str
    api: object
    sandbox: object


@dataclass(frozen=True)
class Exchange:
    """One call and its answer, without anything that is a secret or a matter of chance.

    Attributes:
        call: What was asked for: `POST /v1/flux-2-pro`, `a poll`, `a download`, `GET /v1/credits`.
        word: The task's status in it, if any.
        fields: JSON types by path, such as `result.sample: string`.
    """

    call: str
    status_code: int
    word: str | None = None
    content_type: str = ""
    headers: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, call: str, reply: Reply) -> Exchange:
        """Make it of an answer."""
        content_type = reply.headers.get("content-type", "").partition(";")[0].strip()
        body: object = None
        if content_type == "application/json":
            try:
                body = json.loads(reply.body)
            except ValueError:
                content_type += " that is none"
        word = body.get("status") if isinstance(body, dict) else None
        return cls(
            call,
            reply.status_code,
            word if isinstance(word, str) else None,
            content_type,
            frozenset(name.lower() for name in reply.headers),
            frozenset(_fields("", body)),
        )

    @property
    def kind(self) -> str:
        """The exchanges with which it is compared, in words."""
        if self.word is not None:
            return f"{self.call} that says {self.word!r}"
        return f"{self.call} that is answered {self.status_code}"


def _fields(path: str, value: object) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        if path:
            yield path, "object"
        for name, beneath in value.items():
            yield from _fields(f"{path}.{name}" if path else name, beneath)
    elif isinstance(value, list):
        yield path, "list"
        for beneath in value:
            yield from _fields(f"{path}[]", beneath)
    elif path:
        names = {bool: "boolean", int: "number", float: "number", str: "string"}
        yield path, names.get(type(value), "null")


@dataclass
class Recorder:
    """A transport that notes what goes through another one.

    Attributes:
        bodies: What the submits said.
        replies: What they were answered.
        named: What is added to the name of each call.
    """

    inner: Transport
    exchanges: list[Exchange] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    named: str = ""

    async def submit(self, path: str, body: bytes) -> Reply:
        """See `Transport.submit`."""
        self.bodies.append(json.loads(body))
        reply = await self.inner.submit(path, body)
        self.replies.append(reply)
        self._note(f"POST {path}", reply)
        return reply

    async def poll(self, url: str) -> Reply:
        """See `Transport.poll`."""
        reply = await self.inner.poll(url)
        path = url.partition("?")[0]
        asks_for_task = not path.startswith("/v1/") or path == "/v1/get_result"
        self._note("a poll" if asks_for_task else f"GET {path}", reply)
        return reply

    async def download(self, url: str, *, timeout: float) -> Reply:
        """See `Transport.download`."""
        reply = await self.inner.download(url, timeout=timeout)
        self._note("a download", reply)
        return reply

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self.inner.aclose()

    def _note(self, call: str, reply: Reply) -> None:
        self.exchanges.append(Exchange.of(call + self.named, reply))


def differences(real: Sequence[Exchange], sandbox: Sequence[Exchange]) -> list[Difference]:
    """Say where the API's answers differ from the sandbox's to the same calls.

    Chance decides how often a task is polled and what each poll finds, so kinds of exchanges are compared, and a
    status is told only where this release does not know it.
    """
    found: list[Difference] = []
    ours, theirs = _by_kind(sandbox), _by_kind(real)
    for kind, group in theirs.items():
        words = {each.word for each in group} - {None}
        if kind in ours:
            found += _between(kind, group, ours[kind])
        elif not words:
            found.append(Difference(kind, "answered so", "never answered so"))
        elif not words <= set(TaskStatus):
            found.append(Difference(kind, "a status that this release does not know", "never answered so"))
    for kind, group in ours.items():
        if kind not in theirs and all(each.word is None for each in group):
            found.append(Difference(kind, "never answered so", "answered so"))
    return found


def _by_kind(exchanges: Iterable[Exchange]) -> dict[str, list[Exchange]]:
    groups: dict[str, list[Exchange]] = defaultdict(list)
    for each in exchanges:
        groups[each.kind].append(each)
    return groups


def _between(kind: str, real: list[Exchange], sandbox: list[Exchange]) -> Iterable[Difference]:
    for what, name in (("HTTP status", "status_code"), ("content type", "content_type")):
        theirs, ours = _values(real, name), _values(sandbox, name)
        if theirs != ours:
            yield Difference(f"{kind}: {what}", _list(theirs), _list(ours))
    theirs_typed, ours_typed = _types(real), _types(sandbox)
    only = [
        ", ".join(sorted(f"{path} ({_list(names[path])})" for path in names.keys() - others.keys()))
        for names, others in ((theirs_typed, ours_typed), (ours_typed, theirs_typed))
    ]
    if any(only):
        yield Difference(f"{kind}: fields that the other one has not", *(names or "none" for names in only))
    for path in sorted(theirs_typed.keys() & ours_typed.keys()):
        one, other = theirs_typed[path] - {"null"}, ours_typed[path] - {"null"}
        if one and other and one != other:
            yield Difference(f"{kind}: type of {path}", _list(one), _list(other))
    their_headers = frozenset().union(*(each.headers for each in real))
    our_headers = frozenset().union(*(each.headers for each in sandbox))
    if their_headers != our_headers:
        yield Difference(
            f"{kind}: headers that the other one has not",
            ", ".join(sorted(their_headers - our_headers)) or "none",
            ", ".join(sorted(our_headers - their_headers)) or "none",
        )


def _values(exchanges: list[Exchange], name: str) -> set[str]:
    return {str(getattr(each, name)) for each in exchanges}


def _types(exchanges: list[Exchange]) -> dict[str, set[str]]:
    types: dict[str, set[str]] = defaultdict(set)
    for each in exchanges:
        for path, kind in each.fields:
            types[path].add(kind)
    return dict(types)


def _list(values: Iterable[str]) -> str:
    return " or ".join(sorted(values)) or "none"
