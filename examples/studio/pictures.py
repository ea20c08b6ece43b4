"""The pictures of the studio: what is asked for, what becomes of it, and what pages hear of that."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bfl_async import AsyncBFL, BFLError, ImageRequest, TaskHandle
from bfl_async.integrations.fastapi import Handles
from bfl_async.types import State
from examples.studio.models import Entry
from examples.studio.wishes import Wish, WishError, problem_of, request_of

# As many are shown. The files of older ones stay in the folder.
MOST_PICTURES = 300
_MOST_GONE = 1_000
_QUEUE_LOOK_S = 1.0
# Between two bursts of changes to a page.
_BATCH_S = 0.1
_KEEP_ALIVE_S = 15.0
# The formats that a request takes, by their first bytes and where these are.
_TAKEN = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (8, b"WEBP"), (4, b"ftyp"))

_log = logging.getLogger("studio")


@dataclass(eq=False)
class Picture:
    """One wish, and what became of it."""

    id: str
    wish: Wish
    handle: TaskHandle
    # The order of wishes.
    number: int
    # Of its newest change.
    version: int = 0
    # In the queue.
    position: int | None = None
    # Of the loop's clock: when it was sent, and when it was saved.
    sent_s: float | None = None
    saved_s: float | None = None
    file: Path | None = None
    seed: int | None = None
    draft_cache: str | None = None
    problem: str | None = None
    favourite: bool = False

    @property
    def state(self) -> str:
        """A state of the client's, or "saving", "saved" or "failed"."""
        if self.file is not None:
            return "saved"
        if self.problem is not None:
            return "failed"
        return "saving" if self.handle.done() else self.handle.state.value

    def shown(self, now_s: float) -> dict[str, object]:
        """Return what pages show of it."""
        handle = self.handle
        end_s = now_s if self.saved_s is None else self.saved_s
        return {
            "id": self.id,
            "number": self.number,
            "model": self.wish.model,
            "prompt": self.wish.prompt,
            "wish": self.wish.model_dump(exclude_none=True, exclude={"seed"})
            | {"seed": text_of(self.wish.seed)},
            "state": self.state,
            "status": None if handle.status is None else str(handle.status),
            "progress": handle.progress,
            "position": self.position,
            "seconds": None if self.sent_s is None else round(end_s - self.sent_s, 1),
            "cost": handle.cost,
            "seed": text_of(self.wish.seed if self.seed is None else self.seed),
            "suffix": "" if self.file is None else self.file.suffix,
            "draft": self.draft_cache is not None,
            "problem": self.problem,
            "favourite": self.favourite,
        }


def text_of(seed: int | None) -> str | None:
    """Return a seed as a text: JavaScript would round one of more than 53 bits."""
    return None if seed is None else str(seed)


class Studio:
    """The pictures, who follows them, and which pages listen.

    Args:
        models: What can be asked for, by id.
        folder: Where images are kept, and inputs beneath `inputs`.
        save_s: Seconds for the download of one image, which is repeated where it fails.
    """

    def __init__(
        self, bfl: AsyncBFL, handles: Handles, models: Mapping[str, Entry], folder: Path, save_s: float = 60.0
    ) -> None:
        self._bfl = bfl
        self._handles = handles
        self._models = models
        self._folder = folder
        self._save_s = save_s
        # Versions of an earlier process mean nothing.
        self._epoch = secrets.token_hex(4)
        self._version = 0
        self._wishes = 0
        # Oldest first.
        self.pictures: dict[str, Picture] = {}
        self._inputs: dict[str, Path] = {}
        # Versions of deleted pictures, by id, and the newest version of those that were dropped from here.
        self._gone: dict[str, int] = {}
        self._dropped = 0
        self._followers: set[asyncio.Task[None]] = set()
        self._queue_watch: asyncio.Task[None] | None = None
        # One for each page.
        self._changed: set[asyncio.Event] = set()
        # True once the server ends. Written by `end_streams`.
        self._is_ending = False

    # --- what pages ask for

    def request_of(self, wish: Wish) -> ImageRequest:
        """Return the request of a wish. Raises as the function of that name."""
        return request_of(wish, self._models, self._media)

    def _media(self, any_id: str, kind: str) -> Path | str | None:
        """Return what an id of a wish names."""
        picture = self.pictures.get(any_id)
        if kind == "draft":
            return None if picture is None else picture.draft_cache
        return self._inputs.get(any_id) if picture is None else picture.file

    async def add_input(self, data: bytes) -> str:
        """Keep a file that a page sends; return its id.

        Raises:
            WishError: It is none of the formats that a request takes.
        """
        if not any(data[at:].startswith(first) for at, first in _TAKEN):
            raise WishError("This file cannot be used. Add a JPEG, PNG or WebP image, or an MP4 video.")
        input_id = secrets.token_hex(16)
        path = self._folder / "inputs" / input_id
        await asyncio.to_thread(_write, path, data)
        self._inputs[input_id] = path
        return input_id

    def draw(self, wish: Wish) -> Picture:
        """Queue a wish. Raises as `request_of`, and the client's errors, such as `QueueFullError`."""
        handle = self._bfl.submit_nowait(self.request_of(wish))
        self._wishes += 1
        picture = Picture(self._handles.add(handle), wish, handle, self._wishes)
        picture.position = handle.queue_position
        self.pictures[picture.id] = picture
        while len(self.pictures) > MOST_PICTURES:
            ids = list(self.pictures)
            self._forget(next((each for each in ids if not self.pictures[each].favourite), ids[0]))
        self._publish(picture)
        follower = asyncio.get_running_loop().create_task(self._follow(picture))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        if self._queue_watch is None:
            self._queue_watch = asyncio.get_running_loop().create_task(self._watch_queue())
        return picture

    def mark(self, picture: Picture, favourite: bool) -> None:
        """Make a picture a favourite, which is kept when older ones are forgotten, or an ordinary one."""
        picture.favourite = favourite
        self._publish(picture)

    async def delete(self, picture: Picture) -> None:
        """Delete a picture and its file.

        Raises:
            WishError: It is not finished: it is paid for whatever happens here.
        """
        if picture.state not in ("saved", "failed"):
            raise WishError("This picture is not finished yet. Delete it then.")
        self._forget(picture.id)
        if picture.file is not None:
            await asyncio.to_thread(picture.file.unlink, missing_ok=True)

    async def finish(self, timeout: float) -> None:
        """Let what runs end and be saved, for a while."""
        if self._followers:
            await asyncio.wait(self._followers, timeout=timeout)
        rest = [*self._followers, *([self._queue_watch] if self._queue_watch is not None else [])]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    # --- what pages hear

    async def stream(self, last_id: str) -> AsyncIterator[bytes]:
        """Yield what changed after `last_id`, until the server ends, as server-sent events."""
        epoch, _, number = last_id.partition("-")
        seen = int(number) if epoch == self._epoch and number.isascii() and number.isdigit() else 0
        if seen < self._dropped:
            seen = 0
        changed = asyncio.Event()
        self._changed.add(changed)
        account = ""
        try:
            yield b"retry: 1000\n\n"
            if seen == 0 and last_id:
                yield _event("reset", {})
            while not self._is_ending:
                for version, kind, data in self._news(seen):
                    seen = version
                    yield _event(kind, data, f"{self._epoch}-{seen}")
                if (now := json.dumps(self._account())) != account:
                    account = now
                    yield _event("account", self._account())
                changed.clear()
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                await asyncio.sleep(_BATCH_S)
        finally:
            self._changed.discard(changed)

    def end_streams(self) -> None:
        """End the streams of all pages: the server waits for them before it ends."""
        self._is_ending = True
        for changed in self._changed:
            changed.set()

    def _news(self, seen: int) -> list[tuple[int, str, dict[str, object]]]:
        now_s = asyncio.get_running_loop().time()
        news: list[tuple[int, str, dict[str, object]]] = [
            (picture.version, "picture", picture.shown(now_s))
            for picture in self.pictures.values()
            if picture.version > seen
        ]
        if seen:
            news += [
                (version, "gone", {"id": each}) for each, version in self._gone.items() if version > seen
            ]
        return sorted(news, key=lambda item: item[0])

    def _account(self) -> dict[str, object]:
        now = self._bfl.statistics()
        return {
            "queued": now.queued,
            "running": now.submitting + now.active,
            "limit": now.pools["account"].limit,
            "credits": now.credits_spent,
        }

    def _publish(self, picture: Picture) -> None:
        self._version += 1
        picture.version = self._version
        self._wake()

    def _forget(self, picture_id: str) -> None:
        del self.pictures[picture_id]
        self._version += 1
        self._gone[picture_id] = self._version
        if len(self._gone) > _MOST_GONE:
            self._dropped = self._gone.pop(next(iter(self._gone)))
        self._wake()

    def _wake(self) -> None:
        for changed in self._changed:
            changed.set()

    # --- what goes on

    async def _follow(self, picture: Picture) -> None:
        """Publish a picture's changes, and keep its image."""
        clock = asyncio.get_running_loop().time
        try:
            async for update in picture.handle.updates():
                if update.state is not State.QUEUED:
                    picture.position = None
                if update.state is State.SUBMITTED and picture.sent_s is None:
                    picture.sent_s = clock()
                self._publish(picture)
            result = await picture.handle
            picture.seed, picture.draft_cache = result.seed, result.draft_cache
            # Under an id of our own: the server's could be any text, a path among them.
            target = self._folder / secrets.token_hex(16)
            picture.file = await result.save(target, timeout=self._save_s)
            picture.saved_s = clock()
        except BFLError as exc:
            withdrawn = picture.handle.withdraw()
            picture.problem = "Cancelled. Nothing was sent or paid." if withdrawn else problem_of(exc)
            if not withdrawn:
                _log.warning("picture %s: %s", picture.id, exc)
        self._publish(picture)

    async def _watch_queue(self) -> None:
        """Publish the places of those in the queue, at most once a second."""
        while True:
            await asyncio.sleep(_QUEUE_LOOK_S)
            for picture in list(self.pictures.values()):
                if picture.handle.state is State.QUEUED:
                    position = picture.handle.queue_position
                    if position != picture.position:
                        picture.position = position
                        self._publish(picture)


def _event(kind: str, data: dict[str, object], event_id: str | None = None) -> bytes:
    name = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {kind}\n{name}data: {json.dumps(data)}\n\n".encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
