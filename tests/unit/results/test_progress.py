"""A stream in a notebook: a progress bar that follows it, and harms nothing."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from bfl_async import Fixed, FluxDev, ImageRequest, OutcomeStream, sync
from tests.fake import FakeAPI, reply, spin


@dataclass
class Notebook:
    """What IPython was given to show.

    Args:
        shown: Each bar: HTML, words, the id of its place, and whether it replaces what is there.
        kernel: None in IPython's shell.
        is_broken: True: nothing can be shown any more.
    """

    shown: list[tuple[str, str, str, bool]] = field(default_factory=list)
    kernel: object = True
    is_broken: bool = False

    def publish(self, data: Mapping[str, str], *, transient: Mapping[str, str], update: bool) -> None:
        if self.is_broken:
            raise OSError("the kernel has ended")
        self.shown.append((data["text/html"], data["text/plain"], transient["display_id"], update))

    @property
    def words(self) -> list[str]:
        return [words for _, words, _, _ in self.shown]

    def display(self, item: object) -> None:
        """What IPython does with the last expression of a cell."""
        cast("OutcomeStream", item)._ipython_display_()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """IPython, as far as it is used."""
    made = Notebook()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    monkeypatch.setattr(ipython, "get_ipython", lambda: SimpleNamespace(kernel=made.kernel), raising=False)
    monkeypatch.setattr(display, "publish_display_data", made.publish, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def cats(count: int) -> list[ImageRequest]:
    return [FluxDev(prompt=f"cat {n}") for n in range(count)]


def lazily(count: int) -> Iterator[ImageRequest]:
    yield from cats(count)


def bar_of(shown: str) -> dict[str, int]:
    """Return the numbers of a bar; none where it moves."""
    (tag,) = re.findall(r"<progress (.*?)style", shown)
    return {name: int(value) for name, value in re.findall(r'(\w+)="(\d+)"', tag)}


@pytest.mark.looptime(start=0)
async def test_a_bar_follows_its_stream_to_the_end(notebook: Notebook) -> None:
    """In one place, with what failed and what is in flight, and with the seconds while all wait."""
    api = FakeAPI(limit=2, service_s=10)
    api.script_submits(reply(422, {"detail": "no"}))
    async with api.client() as bfl:
        stream = bfl.stream(cats(5))
        notebook.display(stream)
        assert notebook.words == ["0 of 5 done"]
        outcomes = [outcome async for outcome in stream]
    assert len(outcomes) == 5
    assert [update for *_, update in notebook.shown] == [False] + [True] * (len(notebook.shown) - 1)
    assert len({place for _, _, place, _ in notebook.shown}) == 1
    assert "1 of 5 done, 1 failed, 2 in flight, 5 s" in notebook.words
    assert re.fullmatch(r"5 of 5 done, 1 failed, \d+ s", notebook.words[-1])
    assert bar_of(notebook.shown[-1][0]) == {"max": 5, "value": 5}
    assert len(notebook.shown) < 60


@pytest.mark.looptime(start=0)
async def test_a_source_of_unknown_length_has_a_bar_that_moves_until_it_was_read(notebook: Notebook) -> None:
    """Nothing but the source knows its end, and a length that has to be computed is not asked for."""

    class Table:
        def __iter__(self) -> Iterator[ImageRequest]:
            return lazily(3)

        def __len__(self) -> int:
            raise AssertionError("this reads the whole table")

    for source in (lazily(3), Table()):
        notebook.shown.clear()
        async with FakeAPI(service_s=1).client() as bfl:
            stream = bfl.stream(source, window=1)
            notebook.display(stream)
            # It has not begun: nothing moves.
            assert bar_of(notebook.shown[0][0]) == {"max": 1, "value": 0}
            [outcome async for outcome in stream]
        bars = [bar_of(shown) for shown, *_ in notebook.shown]
        assert {} in bars
        assert bars[-1] == {"max": 3, "value": 3}


@pytest.mark.looptime(start=0)
async def test_a_stream_that_is_stopped_left_or_lost_has_a_bar_that_says_so(notebook: Notebook) -> None:
    """A bar that goes on moving would promise images that never come; and a bar keeps no stream."""
    for way in ("stop", "aclose", "lost"):
        notebook.shown.clear()
        async with FakeAPI(limit=1, service_s=1).client() as bfl:
            stream = bfl.stream(lazily(1000), window=3)
            notebook.display(stream)
            await anext(stream)
            if way == "stop":
                stream.stop()
                [outcome async for outcome in stream]
            elif way == "aclose":
                await stream.aclose()
            del stream
            await spin()
            await bfl.drain()
            assert bfl.statistics().queued == 0, way
            assert bar_of(notebook.shown[-1][0]), way
            shown = len(notebook.shown)
            await asyncio.sleep(30)
            assert len(notebook.shown) == shown
        assert "stopped" in notebook.words[-1], way
        assert "failed" not in notebook.words[-1], way


@pytest.mark.looptime(start=0)
async def test_a_stream_that_waits_for_its_consumer_is_not_drawn_again(notebook: Notebook) -> None:
    """A notebook that is left open over night does not grow."""
    async with FakeAPI(service_s=1).client() as bfl, bfl.stream(cats(100), window=2) as stream:
        notebook.display(stream)
        await asyncio.sleep(5)
        shown = len(notebook.shown)
        await asyncio.sleep(1000)
        assert len(notebook.shown) == shown
        await anext(stream)
        await asyncio.sleep(5)
        assert len(notebook.shown) > shown


@pytest.mark.looptime(start=0)
async def test_many_outcomes_at_once_are_drawn_ten_times_per_second(notebook: Notebook) -> None:
    """Each drawing is a message to a browser."""
    async with FakeAPI(limit=100, service_s=lambda n: n / 50, submit_s=0).client(interval=0.05) as bfl:
        stream = bfl.stream(cats(100), window=100)
        notebook.display(stream)
        [outcome async for outcome in stream]
    assert len(notebook.shown) < 40
    assert bar_of(notebook.shown[-1][0]) == {"max": 100, "value": 100}


@pytest.mark.looptime(start=0)
async def test_the_shell_of_ipython_shows_the_words_once(notebook: Notebook) -> None:
    """A terminal cannot redraw what has scrolled."""
    notebook.kernel = None
    async with FakeAPI(service_s=5).client() as bfl:
        stream = bfl.stream(cats(2))
        notebook.display(stream)
        [outcome async for outcome in stream]
    assert notebook.words == ["0 of 2 done"]


@pytest.mark.looptime(start=0)
async def test_a_display_that_fails_harms_no_stream(notebook: Notebook) -> None:
    """The kernel may end while images are on their way."""
    async with FakeAPI(service_s=1).client() as bfl:
        stream = bfl.stream(cats(3))
        notebook.display(stream)
        notebook.is_broken = True
        assert [outcome.ok async for outcome in stream] == [True] * 3


@pytest.mark.looptime(start=0)
async def test_a_stream_is_shown_as_it_is_where_nothing_can_be_redrawn() -> None:
    """Other notebooks ask for HTML alone."""
    async with FakeAPI(service_s=1).client() as bfl:
        stream = bfl.stream(cats(3))
        assert bar_of(stream._repr_html_()) == {"max": 1, "value": 0}
        await anext(stream)
        assert bar_of(stream._repr_html_()) == {"max": 3, "value": 3}


def test_a_stream_without_asyncio_has_the_same_bar(notebook: Notebook) -> None:
    """Shown in the thread of the cell, redrawn from the client's own; and still there when the client is closed."""
    api = FakeAPI(service_s=0.01, submit_s=0, poll_s=0)
    with sync.BFL(transport=api, polling=Fixed(0.005)) as bfl:
        stream = bfl.stream(cats(3))
        notebook.display(stream)
        assert bar_of(stream._repr_html_()) == {"max": 1, "value": 0}
        assert [outcome.ok for outcome in stream] == [True] * 3
        assert bar_of(notebook.shown[-1][0]) == {"max": 3, "value": 3}
        left = bfl.stream(cats(3))
        notebook.display(left)
    notebook.display(stream)
    assert bar_of(notebook.shown[-1][0]) == {"max": 3, "value": 3}
    assert [update for *_, update in notebook.shown].count(False) == 3
    assert bar_of(left._repr_html_())
