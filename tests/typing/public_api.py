"""What type checkers see. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from bfl_async import (
    AsyncBFL,
    BFLError,
    FluxPro11,
    ImageRequest,
    Limits,
    Outcome,
    Result,
    TaskHandle,
    Timeouts,
    Update,
    request,
)


async def use() -> None:
    async with AsyncBFL(limits=Limits(account=24), timeouts=Timeouts(task=60)) as bfl:
        assert_type(bfl, AsyncBFL)
        result = await bfl.generate("flux-pro-1.1", prompt="a cat", width=1024)
        assert_type(result, Result)
        assert_type(await result.save("cat.jpg"), Path)
        assert_type(await result.read(timeout=5), bytes)
        handle = await bfl.submit(FluxPro11(prompt="a cat"), timeout=5)
        assert_type(handle, TaskHandle)
        assert_type(await handle, Result)
        assert_type(await handle.accepted(), str)
        assert_type(bfl.attach(**handle.to_dict()), TaskHandle)
        async for update in handle.updates():
            assert_type(update, Update)
        requests = (request("flux-dev", prompt=str(n)) for n in range(3))
        async with bfl.stream(requests, ordered=True) as outcomes:
            async for outcome in outcomes:
                assert_type(outcome, Outcome)
                assert_type(outcome.error, BFLError | None)
                assert_type(outcome.unwrap(), Result)
        assert_type(await bfl.gather([FluxPro11(prompt="x")]), list[Result])
        several: list[ImageRequest] = [request("flux-dev", prompt="x")]
        assert_type(await bfl.gather(several, return_exceptions=True), list[Result | BFLError])
        FluxPro11(prompt="x", colour=3)  # type: ignore[call-arg]  # a wrong field is a type error
        FluxPro11(prompt="x", width="3")  # type: ignore[arg-type]  # and so is a wrong type
        await bfl.generate(3)  # type: ignore[arg-type]  # neither a name nor a request
