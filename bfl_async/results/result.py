"""`Result`: what a task that became Ready has brought."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bfl_async import results
from bfl_async.errors import TaskRecord
from bfl_async.models import model_info
from bfl_async.results.download import Downloads, closed_error
from bfl_async.results.incoming import Download, Place
from bfl_async.types.common import JSON
from bfl_async.types.held import HeldImage
from bfl_async.types.replies import PollReply, Reply
from bfl_async.wire.json import number_of
from bfl_async.wire.replies import draft_cache_url, expiry_of, sample_url


@dataclass(frozen=True, repr=False)
class ResultFacts:
    """What is known of a finished generation.

    Attributes:
        task_id: The server's id; `immediate-` and 32 digits where the answer to the submit was the result, and no
            task exists that could be attached.
        model: The model's name; None for an attached task whose model was not given.
        url: The signed URL, exactly as received; "" when the answer held none, or the image itself.
        seed: The seed used; may exceed 32 bits.
        prompt: The prompt used; some models rewrite it.
        cost: Credits (1 credit = 0.01 USD); the settled cost where the server states one.
        expires_at: When the URL ends, in Unix seconds; None where the image itself came.
        duration: Seconds that the server worked, where it says so.
        raw: The whole answer, unknown fields included.
        draft_cache: Of a draft video: what `Flux3VideoDraftEnhance` takes to make the full one.
        reply: The HTTP reply of the poll that found it, or of the submit where that held the result; None where a
            webhook told.
    """

    task_id: str
    model: str | None
    url: str
    seed: int | None
    prompt: str | None
    cost: float | None
    expires_at: float | None
    duration: float | None
    raw: Mapping[str, JSON] = field(hash=False)
    polling_url: str | None = None
    draft_cache: str | None = None
    reply: Reply | None = field(default=None, compare=False)
    _source: object = field(
        default=None, compare=False
    )  # what fetches its bytes; None where nothing does any more
    _request_id: int = field(default=0, compare=False)  # of its events
    _file: Path | None = field(default=None, compare=False)  # where it was saved last; written by save()
    _others: tuple[Self, ...] = field(default=(), compare=False)  # see `others`
    # The image, where it came with the answer to the submit. It is pickled as well: no task has it.
    _held: HeldImage | None = field(default=None, compare=False)

    @property
    def others(self) -> tuple[Self, ...]:
        """Further results of the same answer, from hosts that make several images of one request; usually empty.

        Their `cost` is None, since the first one has it.
        """
        return self._others

    def _record(self) -> TaskRecord:
        return TaskRecord(
            task_id=self.task_id, polling_url=self.polling_url, model=self.model, cost=self.cost
        )

    def _note_saved(self, path: Path) -> Path:
        object.__setattr__(self, "_file", path)  # no fact of the generation: the result stays what it is
        return path

    def __repr__(self) -> str:
        if not hasattr(self, "cost"):
            # It is not complete yet.
            return "<Result>"
        # No query of the URL, which is signed, and no prompt.
        return (
            f"Result(task_id={self.task_id!r}, model={self.model!r}, seed={self.seed!r}, cost={self.cost!r})"
        )

    def _repr_html_(self) -> str:
        """Return a card for a notebook, with the picture. Uses no network.

        A result that was not saved is shown by its URL, which the browser fetches while it lasts.
        """
        return results.card(
            results.Source(self.url, self.expires_at, self._file, self._held),
            task_id=self.task_id,
            model=self.model,
            seed=self.seed,
            prompt=self.prompt,
            cost=self.cost,
        )

    def _tile(self, place: int | None, file: Path | None = None) -> str:
        """Return the result as one of several in a notebook.

        Args:
            place: Its place in the list. None: it has none.
            file: Where someone else saved it.
        """
        source = results.Source(self.url, self.expires_at, file or self._file, self._held)
        seed = "" if self.seed is None else f"seed {self.seed}"
        return results.tile(place, seed, self.prompt or "", source=source)

    def __copy__(self) -> Self:
        return self  # frozen

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_source": None, "_file": None}


class Result(ResultFacts):
    """One finished generation, whose bytes can be fetched while its client is open."""

    @classmethod
    def of(
        cls,
        reply: PollReply,
        *,
        task: TaskRecord,
        downloads: Downloads,
        polled: Reply | None,
        request_id: int,
        images: Sequence[HeldImage | str] = (),
    ) -> Result:
        """Make a result from the poll that found the task Ready.

        Args:
            images: Those that came with the answer to the submit; the first one is the result.
        """
        found: Mapping[str, JSON] = reply.result or {}
        url = sample_url(reply.result)
        ended = number_of(found.get("end_time"))
        started = number_of(found.get("start_time"))
        duration = number_of(found.get("duration"))
        if duration is None and started is not None and ended is not None:
            duration = ended - started
        seed, prompt = found.get("seed"), found.get("prompt")
        held = images[0] if images and isinstance(images[0], HeldImage) else None
        life_s = model_info(task["model"]).result_s
        first = cls(
            task_id=task["task_id"],
            model=task["model"],
            url=url,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            prompt=prompt if isinstance(prompt, str) else None,
            cost=reply.cost if reply.cost is not None else task["cost"],
            expires_at=None if held else expiry_of(url) or (ended or time.time()) + life_s,
            duration=duration,
            raw=reply.raw,
            polling_url=task["polling_url"],
            draft_cache=draft_cache_url(reply.result),
            reply=polled,
            _source=downloads,
            _request_id=request_id,
            _held=held,
        )
        return (
            replace(first, _others=tuple(first._with(image) for image in images[1:])) if images[1:] else first
        )

    def _with(self, image: HeldImage | str) -> Self:
        """Return the result of another image of the same answer."""
        if isinstance(image, HeldImage):
            return replace(self, url="", expires_at=None, cost=None, _held=image)
        expires_at = expiry_of(image) or time.time() + model_info(self.model).result_s
        return replace(self, url=image, expires_at=expires_at, cost=None, _held=None)

    async def read(self, *, timeout: float | None = 60.0) -> bytes:
        """Download the image or video and return its bytes as they came.

        A download costs nothing, so it is repeated with back-off (first 0.1 s), also where a host falls silent for
        some seconds. The bytes are checked: length, type, and that the file is whole. They are a JPEG, PNG, WebP, AVIF,
        HEIC, GIF or JPEG XL of at most 64 MiB, or an MP4 of at most 512 MiB, by their own first bytes and whatever the
        server calls them. All of them are held in memory; `save` holds 1 MiB.

        An image that came with the answer to the submit is asked of no host. It has 64 MiB at most, can be read when
        the client is closed, and is pickled with its result, since there is no task that could be attached.

        Args:
            timeout: Seconds for all of it, the polls for a fresh URL included. None: until the URL's end, or 600 s
                where that is later or not known. 0 or less: nothing is asked.
        Raises:
            DownloadError: The bytes would not come in time, or failed their checks to the end.
            ResultExpiredError: The URL has ended and the server signs no new one.
            UntrustedURLError: A result cannot have such a URL.
            ClientClosedError: The client is closed; attach the task with an open one.
            ConfigError: Called from another event loop than the client's, or the timeout is not a number.
        Cancellation: Ends the download; nothing is kept. It can be called again.
        """
        return (await self._fetch(timeout)).data

    async def save(
        self, path: str | os.PathLike[str], *, timeout: float | None = 60.0, unchecked: bool = False
    ) -> Path:
        """Download and write to `path`; return the path written.

        Makes missing folders, replaces an existing file, and adds the suffix of the media type unless the path ends in
        that of an image or a video: `flux-pro-1.1` becomes `flux-pro-1.1.jpg`. Nothing is converted:
        bytes of another format than the suffix says, such as a JPEG in `cat.gif`, are written as they are, and a
        warning is logged. A model with the field `output_format` makes PNG or WebP when it is asked to.

        The bytes go to a `*.part` file first, which is then moved: the target is whole or untouched. A link is replaced
        and not followed, and the file has the permissions of a new one. A large file is written as it arrives, so
        memory does not grow with its size.

        A task id comes from the server and is not a file name: do not build a path from it.

        Args:
            path: Where to write.
            unchecked: Take bytes of a type that this release does not know, or that are not whole. They may be
                anything, such as a page with a script: do not open or serve them by their name. Without it, that is a
                `DownloadError`.
            timeout: Seconds for the download and the write, of which the write has at least 1 s; None: as `read`.
        Raises:
            SaveError: The file could not be written, or the disk did not finish in time; also an `OSError` with its
                `errno`.
            DownloadError, ResultExpiredError, UntrustedURLError, ClientClosedError, ConfigError: As `read`.
        Cancellation: Returns at once. The target is then the old file or the new one, whole.
        """
        return self._note_saved(
            await self._downloads().save(
                self._record(),
                self.url,
                Path(path),
                expires_at=self.expires_at,
                timeout=timeout,
                request_id=self._request_id,
                unchecked=unchecked,
                held=self._held,
            )
        )

    def _downloads(self) -> Downloads:
        source = self._source if isinstance(self._source, Downloads) else None
        if self._held is not None and (source is None or source.closed):
            # It needs no client, and belongs to no loop.
            return Downloads.without_client()
        if source is None:
            raise closed_error(self._record())
        return source

    async def _fetch(self, timeout: float | None, place: Place | None = None) -> Download:
        """Download; with a place, `_discard` must be called at the end."""
        return await self._downloads().fetch(
            self._record(),
            self.url,
            expires_at=self.expires_at,
            timeout=timeout,
            request_id=self._request_id,
            place=place,
            held=self._held,
        )

    def _discard(self, download: Download) -> None:
        self._downloads().discard(download)
