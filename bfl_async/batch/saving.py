"""An image of a batch: from its URL to its file, its entry and its line in the manifest.

In this order, which makes a killed run repeatable: the image is flushed and gets its name, "saved" becomes durable,
then the manifest lists it. An image that came with the answer to its submit has no task, and is lost with a killed run:
its entry stays "submitting" until it is saved, and is then found as ambiguous, which is true.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from bfl_async.batch.files import NewImage, name_new
from bfl_async.batch.lister import manifest_line
from bfl_async.errors import BFLError, DownloadError
from bfl_async.runtime.cancellation import foreign_cancellation_as
from bfl_async.types.entries import EntryState
from bfl_async.wire.replies import expiry_of

if TYPE_CHECKING:
    from pathlib import Path

    from bfl_async.batch.item import Item
    from bfl_async.batch.lister import Lister
    from bfl_async.batch.shelf import Shelf
    from bfl_async.results.incoming import Download
    from bfl_async.results.result import Result
    from bfl_async.types.common import JSON
    from bfl_async.types.replies import Reply

_log = logging.getLogger("bfl_async")

# Bounds of the time in which a result is fetched: a URL lives for ten minutes.
_LEAST_DOWNLOAD_S, _MOST_DOWNLOAD_S = 60.0, 600.0


class Saver:
    """Saves the images of one run in the batch's folder."""

    def __init__(self, shelf: Shelf, lister: Lister | None) -> None:
        self._shelf = shelf
        self._lister = lister

    async def save(self, item: Item, result: Result, seen_at: float) -> None:
        """Fetch, save and list an image.

        Args:
            seen_at: The loop's time when its task was seen to be ready.
        Raises:
            DownloadError, SaveError, LedgerError: It was not saved, or the ledger does not have it.
        Cancellation: Ends the download; what has arrived is removed.
        """
        shelf = self._shelf
        assert shelf.folder is not None
        assert shelf.parts is not None
        # The time in which the image waited for its turn has passed for its URL as well.
        timeout = download_timeout_s(
            result.url, result.reply, waited_s=asyncio.get_running_loop().time() - seen_at
        )
        with foreign_cancellation_as(
            lambda: DownloadError("the download was cut off: something that it waited for was cancelled")
        ):
            download = await result._fetch(timeout, NewImage(shelf.parts, result.task_id))
        # Before the file: the name may contain the seed that the server chose.
        kept = kept_result(item, result)
        try:
            file, digest = await self._name(item, result, download, kept)
        finally:
            # What was not moved to its name is removed, whatever has failed.
            result._discard(download)
        # Before the change, which may fail: the error then names the file that exists.
        item.file = shelf.folder / file
        kept |= {"sha256": digest, "bytes": download.size}
        if result.others:
            kept["others"] = await self._save_others(item, result, timeout, kept)
        facts = {
            "file": file, "result": json.dumps(kept), "cost": result.cost, "error": None, "ended_at": time.time()
        }  # fmt: skip
        await shelf.durable(item.change(EntryState.SAVED, facts))
        # Last. A line that is missing is added by the next session; a line without a file would be a lie.
        if self._lister is not None:
            self._lister.put(item.row.id, manifest_line(item.row, result.task_id, result.cost, file, kept))

    async def _save_others(
        self, item: Item, result: Result, timeout: float, kept: Mapping[str, JSON]
    ) -> list[str]:
        """Save further images of the same answer under numbered names; return these.

        One that cannot be saved is logged: the entry has its image.
        """
        shelf = self._shelf
        assert shelf.parts is not None
        files: list[str] = []
        for other in result.others:
            try:
                download = await other._fetch(timeout, NewImage(shelf.parts, result.task_id))
                try:
                    files.append((await self._name(item, other, download, kept))[0])
                finally:
                    other._discard(download)
            except BFLError as exc:
                _log.warning(
                    "a further image of %s was not saved: %s",
                    result.task_id,
                    exc,
                    extra={"bfl_task_id": result.task_id, "bfl_error": type(exc).__name__},
                )
        return files

    async def _name(
        self, item: Item, result: Result, download: Download, kept: Mapping[str, JSON]
    ) -> tuple[str, str]:
        """Give an image that has arrived its name; return that, and its SHA-256."""
        shelf = self._shelf
        assert shelf.folder is not None
        name = shelf.template.render(
            index=item.index,
            prompt=item.prompt,
            model=item.row.model,
            seed=seed if isinstance(seed := kept["seed"], int) else None,
            task_id=result.task_id,
            key=item.row.key,
            suffix=download.suffix,
        )
        # An attached entry may have been saved by a run that was killed right after: a file with the same content under
        # this name is then the image, and is taken over.
        return await shelf.in_thread(
            _save_file,
            shelf.folder,
            name,
            download,
            item.is_attached,
            result.task_id,
            item.row.key,
        )


def download_timeout_s(url: str, polled: Reply | None, *, waited_s: float) -> float:
    """Return how long to try to download a result: until its URL ends, judged by the server's clock alone.

    This machine's clock may be wrong by hours, and must not cut short the attempts to fetch a paid image. Where the
    server states no time, the whole life of a URL is granted: the server itself refuses a URL that has ended.

    Args:
        url: The result's URL, which may state its end.
        polled: The reply that brought the URL, which may state the server's time.
        waited_s: Seconds since that reply.
    """
    ends_at = expiry_of(url)
    try:
        now = None if polled is None else parsedate_to_datetime(polled.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        now = None
    if ends_at is None or now is None:
        return _MOST_DOWNLOAD_S
    return min(max(_LEAST_DOWNLOAD_S, ends_at - now - waited_s), _MOST_DOWNLOAD_S)


def kept_result(item: Item, result: Result) -> dict[str, JSON]:
    """What of a result outlives its URL."""
    asked = item.row.fields.get("seed")
    # The server's seed where it states one, else the one that was asked for: either makes the image again.
    kept: dict[str, JSON] = {"seed": result.seed if result.seed is not None else asked}
    if result.prompt is not None and result.prompt != item.prompt:
        kept["used_prompt"] = result.prompt
    if result.duration is not None:
        kept["duration"] = result.duration
    return kept


def _save_file(
    folder: Path, name: str, download: Download, adopt: bool, task_id: str, key: str
) -> tuple[str, str]:
    # From here on the part is `name_new`'s to move or remove.
    part, digest = download.finish(hand_over=True)
    return name_new(folder, part, name, digest, adopt=adopt, task_id=task_id, key=key), digest
