"""`with_options`: one client, other defaults."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import pickle
import warnings

import pytest

from bfl_async import AsyncBFL, ClientClosedError, ConfigError, TaskTimeoutError, request
from tests.fake import FakeAPI, prompts

pytestmark = pytest.mark.looptime(start=0)


async def test_a_view_is_the_same_client() -> None:
    """Slots, queue, counts, tasks and state are shared, also from before the opening."""
    api = FakeAPI(limit=1)
    client = api.client()
    early = client.with_options(timeout=60)
    with pytest.raises(ClientClosedError, match="not open"):
        await early.generate("flux-dev", prompt="a cat")
    async with client as bfl:
        late = bfl.with_options(priority=3)
        await bfl.gather([request("flux-dev", prompt=str(n)) for n in range(2)])
        await early.generate("flux-dev", prompt="a cat")
        await late.generate("flux-dev", prompt="a cat")
        assert early.statistics() == bfl.statistics()
        assert bfl.statistics().ready == 4
        assert api.peak_active == 1
        handle = await late.submit("flux-dev", prompt="a dog")
        assert bfl.attach(**handle.to_dict()) is handle
    with pytest.raises(ClientClosedError, match="closed"):
        await late.generate("flux-dev", prompt="a cat")


async def test_a_views_timeout_is_the_default_of_every_call_that_has_one() -> None:
    """A call's own word comes first; infinity is no bound."""
    api = FakeAPI(service_s=10)
    async with api.client() as bfl:
        view = bfl.with_options(timeout=2)
        with pytest.raises(TaskTimeoutError):
            await view.generate("flux-dev", prompt="a cat")
        with pytest.raises(TaskTimeoutError):
            await view.gather([request("flux-dev", prompt="a cat")])
        [outcome] = [one async for one in view.stream([request("flux-dev", prompt="a cat")])]
        assert isinstance(outcome.error, TaskTimeoutError)
        await view.generate("flux-dev", prompt="a cat", timeout=20)
        await view.generate("flux-dev", prompt="a cat", timeout=math.inf)
        await view.with_options(timeout=math.inf).generate("flux-dev", prompt="a cat")
        await bfl.generate("flux-dev", prompt="a cat")


async def test_a_views_priority_is_the_default_of_every_call_that_has_one() -> None:
    """Views of views keep what they do not change."""
    api = FakeAPI(limit=1)
    async with api.client() as bfl:
        urgent = bfl.with_options(priority=-5)
        bfl.submit_nowait("flux-dev", prompt="first")
        handles = [
            bfl.submit_nowait("flux-dev", prompt="usual"),
            urgent.with_options(timeout=60).submit_nowait("flux-dev", prompt="urgent"),
            urgent.submit_nowait("flux-dev", prompt="not now", priority=7),
        ]
        async with urgent.stream([request("flux-dev", prompt="urgent stream")]) as outcomes:
            async for _ in outcomes:
                pass
        for handle in handles:
            await handle
        assert prompts(api.posts) == ["first", "urgent", "urgent stream", "usual", "not now"]


async def test_opening_and_closing_belong_to_the_client() -> None:
    """A view that was closed by a with-block would close the client under others."""
    async with FakeAPI().client() as bfl:
        view = bfl.with_options(timeout=1)
        with pytest.raises(ConfigError, match="opened with its client"):
            await view.open()
        with pytest.raises(ConfigError, match="opened with its client"):
            async with view:
                pass
        with pytest.raises(ConfigError, match="closed with its client"):
            await view.aclose()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del view
            gc.collect()
        await bfl.generate("flux-dev", prompt="a cat")


@pytest.mark.parametrize("options", [{"timeout": "3"}, {"timeout": math.nan}, {"priority": 1.5}])
def test_wrong_options_are_refused_where_they_are_made(options: dict[str, object]) -> None:
    """One error class, before any I/O."""
    with pytest.raises(ConfigError):
        FakeAPI().client().with_options(**options)  # type: ignore[arg-type]  # on purpose


async def test_reprs_of_views_say_what_they_are_and_hold_no_key() -> None:
    """Also of views of views."""
    client = AsyncBFL("bfl_secret-key", base_url="https://api.bfl.ai")
    shown = repr(client.with_options(timeout=3).with_options(priority=1))
    assert shown == "<view of <AsyncBFL https://api.bfl.ai new>: timeout=3, priority=1>"


def test_clients_and_views_do_not_pickle_or_copy_and_say_why() -> None:
    """Each process makes a client of its own."""
    client = FakeAPI().client()
    for one in (client, client.with_options(timeout=1)):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                attempt(one)


def test_every_call_with_such_a_parameter_takes_the_views_default() -> None:
    """None is what stands for it, so no call may have another default."""
    for name, method in inspect.getmembers(AsyncBFL, inspect.isfunction):
        if name.startswith("_") or name in ("with_options", "drain"):
            continue  # drain() is a wait of its own
        for parameter in inspect.signature(method).parameters.values():
            if parameter.name in ("timeout", "priority"):
                assert parameter.default is None, (name, parameter)
