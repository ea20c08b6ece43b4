"""Garbled replies through the whole client: every request still has one outcome, and nothing hangs or leaks.

The shapes are those of recorded traffic. A failure names its seed; with `BFL_FUZZ_SEED=<seed>` in the environment
that case alone is replayed.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from bfl_async import AsyncBFL, BFLError, Fixed, FluxPro11, Limits, Result, Timeouts
from bfl_async.types import JSON, Reply
from bfl_async.wire.errors import retry_after_s
from bfl_async.wire.replies import expiry_of
from tests.fake import JPEG, FakeAPI, seed
from tests.machines import looptime_runner

SECRET = "c2lnbmF0dXJl"
PROMPT = "an otter at dusk"

# --- shapes of recorded traffic -----------------------------------------------------------------------------


@dataclass
class Raw:
    """A JSON text that no Python value has."""

    text: str


@dataclass
class Object:
    """A JSON object whose keys may come twice."""

    pairs: list[tuple[str, object]] = field(default_factory=list)


def shape(value: object) -> object:
    """The same JSON value with objects as pairs."""
    if isinstance(value, dict):
        return Object([(name, shape(item)) for name, item in value.items()])
    if isinstance(value, list):
        return [shape(item) for item in value]
    return value


def text_of(value: object) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Object):
        return "{" + ",".join(f"{json.dumps(name)}:{text_of(item)}" for name, item in value.pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value)


SUBMITS: list[Callable[[str], object]] = [
    lambda task_id: {
        "id": task_id,
        "polling_url": f"https://api.eu4.bfl.ai/v1/get_result?id={task_id}",
        "cost": 7.000000000000001,
        "input_mp": 0.0,
        "output_mp": 0.06,
    },
    lambda task_id: {
        "id": task_id,
        "polling_url": f"https://api.eu4.bfl.ai/v1/get_result?id={task_id}",
        "cost": None,
        "input_mp": None,
        "output_mp": None,
    },
    lambda task_id: {"id": task_id, "status": "", "webhook_url": "https://example.org/hook", "cost": 3.0},
    lambda task_id: {"detail": "Not authenticated - Invalid Authentication"},
    lambda task_id: {
        "detail": [{"loc": ["body", "width"], "msg": f"too wide: {PROMPT}", "type": "value_error"}]
    },
]
SIGNED = f"https://bfldeliveryprodeu4.blob.core.windows.net/results/8e/34/sample.jpeg?se=2099-12-18T15%3A49%3A07Z&sig={SECRET}"


def _poll(task_id: str, word: str, **more: object) -> dict[str, object]:
    empty = {"result": None, "progress": None, "details": None, "preview": None}
    return {"id": task_id, "status": word, **empty, **more}


POLLS: list[Callable[[str], object]] = [
    lambda task_id: _poll(task_id, "Pending", progress=0.4),
    lambda task_id: _poll(
        task_id,
        "Ready",
        result={
            "sample": SIGNED,
            "prompt": PROMPT,
            "seed": 42,
            "start_time": 1766072345.188173,
            "end_time": 1766072347.676069,
            "duration": 2.487895965576172,
        },
    ),
    lambda task_id: _poll(
        task_id, "Ready", cost=4.5, result={"start_time": 1766006910.2, "seed": 42, "sample": SIGNED}
    ),
    lambda task_id: _poll(task_id, "Ready", result={"samples": [SIGNED, SIGNED], "draft_caches": [SIGNED]}),
    lambda task_id: _poll(
        task_id, "Request Moderated", details={"Moderation Reasons": ["Violence", "Self Harm"]}
    ),
    lambda task_id: _poll(task_id, "Content Moderated", details={"Moderation Reasons": ["Image 2"]}),
    lambda task_id: _poll(task_id, "Error", details={"error": "out of memory"}),
    lambda task_id: _poll(task_id, "Task not found"),
    lambda task_id: {"detail": "Task not found"},
]
CREDITS: list[Callable[[str], object]] = [lambda _: {"credits": 1234.5}]

# --- mutations ----------------------------------------------------------------------------------------------

ODD_VALUES: list[object] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    1e308,
    -1e308,
    0.1,
    "",
    " ",
    "0",
    "Ready",
    "task-0",
    "\ud800",
    "\x00\x1b[2J",
    "é" * 300,
    "x" * 20_000,
    [],
    [[]],
    [None],
    Object(),
    Object([("", None)]),
    Raw("NaN"),
    Raw("-Infinity"),
    Raw("Infinity"),
    Raw("1e400"),
    Raw("1" + "0" * 400),
    Raw("1" + "0" * 5_000),
    Raw("[" * 400 + "]" * 400),
    Raw("[" * 100_000),
    Raw('{"a":' * 300 + "1" + "}" * 300),
    Raw("'single'"),
    Raw(""),
    SIGNED.replace(SECRET, "odd"),
    "http://169.254.169.254/latest?token=1",
    "https://[::1",
    "https://evil.example/?x-key=1",
    "//",
    "file:///etc/passwd",
    "https://h.example/x?se=%FF%00&sig=1",
    "https://h.example/x?se=9999-99-99",
    "https://h.example/x?se=0001-01-01T00:00:00%2B23:59&sig=1",
]
ODD_CODES = [
    100,
    199,
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    304,
    307,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    418,
    422,
    425,
    429,
    451,
    500,
    501,
    502,
    503,
    504,
    520,
    599,
    999,
]
ODD_WAITS = [
    "",
    " ",
    "0",
    "1",
    "-1",
    "1.5",
    "1e3",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "soon",
    "1, 2",
    "١٢",
    "9" * 5_000,
    "0x10",
    "1_0",
    "\x00",
    "Wed, 21 Oct 2099 07:28:00 GMT",
    "Wed, 21 Oct 1999 07:28:00 GMT",
    "Wed, 32 Oct 2099 07:28:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 -0000",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Wed, 21 Oct 2099 07:28:00 +9999",
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "2099-10-21",
    ",",
    ", ,",
    "Wed, 21",
]


def places(value: object) -> list[Object | list[object]]:
    """All objects and lists in a value, itself included."""
    found: list[Object | list[object]] = []
    if isinstance(value, Object):
        found.append(value)
        for _, item in value.pairs:
            found += places(item)
    elif isinstance(value, list):
        found.append(value)
        for item in value:
            found += places(item)
    return found


def garble_value(rng: random.Random, value: object) -> object:
    """Change one thing in a JSON value."""
    where = [place for place in places(value) if not isinstance(place, Object) or place.pairs]
    if not where or rng.random() < 0.05:
        return copy.deepcopy(rng.choice(ODD_VALUES))
    place = rng.choice(where)
    odd = copy.deepcopy(rng.choice(ODD_VALUES))
    if isinstance(place, list):
        if place and rng.random() < 0.5:
            place[rng.randrange(len(place))] = odd
        else:
            place.append(odd)
        return value
    at = rng.randrange(len(place.pairs))
    name, item = place.pairs[at]
    match rng.choice(["drop", "rename", "twice", "type", "type", "type", "swap"]):
        case "drop":
            del place.pairs[at]
        case "rename":
            new = {"id": "task_id", "status": "state", "detail": "message"}.get(name, name.upper())
            place.pairs[at] = (rng.choice([new, "", "\ud800", name + "s"]), item)
        case "twice":
            place.pairs.append((name, odd))
        case "type":
            place.pairs[at] = (name, odd)
        case _:
            other = rng.randrange(len(place.pairs))
            place.pairs[at], place.pairs[other] = (name, place.pairs[other][1]), (place.pairs[other][0], item)
    return value


def garble_bytes(rng: random.Random, body: bytes) -> bytes:
    """Change the bytes of a body."""
    at = rng.randrange(len(body) + 1)
    odd: list[Callable[[], bytes]] = [
        lambda: body[:at],
        lambda: body[:at] + b"\xff\xfe\xc3" + body[at:],
        lambda: b"\xef\xbb\xbf" + body,
        lambda: body.decode("utf-8", "replace").encode("utf-16"),
        lambda: body.decode("utf-8", "replace").encode("utf-32-le"),
        lambda: b"",
        lambda: b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: body * 2,
        lambda: b"[" + body + b"]",
        lambda: b"\x00" * 64,
    ]
    return rng.choice(odd)()


def garbled(rng: random.Random, shapes: list[Callable[[str], object]], task_id: str) -> Reply:
    """A reply with one or more things wrong in it."""
    value = shape(rng.choice(shapes)(task_id))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        value = garble_value(rng, value)
    body = text_of(value).encode("utf-8", "surrogatepass")
    if rng.random() < 0.25:
        body = garble_bytes(rng, body)
    code = rng.choice(ODD_CODES) if rng.random() < 0.4 else 200
    headers = {"retry-after": rng.choice(ODD_WAITS)} if rng.random() < 0.3 else {}
    return Reply(code, headers, body)


def may_have_made_a_task(answer: Reply) -> bool:
    """Invariant 2's table once more: where a task is certain not to exist, the fake makes none."""
    if answer.status_code == 503:
        try:
            json.loads(answer.body)
        except (ValueError, RecursionError):
            return True
        return False
    return not 300 <= answer.status_code < 500


@dataclass
class GarblingAPI(FakeAPI):
    """A server whose replies are garbled on the way, each with some probability."""

    rng: random.Random = field(default_factory=random.Random)
    share: float = 0.5

    def _accept(self, path: str, body: dict[str, JSON]) -> Reply:
        bad = garbled(self.rng, SUBMITS, f"task-{len(self.tasks)}")
        if self.rng.random() >= self.share:
            return super()._accept(path, body)
        if may_have_made_a_task(bad) and self.rng.random() < 0.7:
            super()._accept(path, body)
        return bad

    def _status(self, task_id: str) -> Reply:
        good = super()._status(task_id)
        return good if self.rng.random() >= self.share else garbled(self.rng, POLLS, task_id)

    async def poll(self, url: str) -> Reply:
        if url == "/v1/credits":
            return garbled(self.rng, CREDITS, "")
        return await super().poll(url)

    async def download(self, url: str, *, timeout: float) -> Reply:
        if self.rng.random() < 0.5:
            return Reply(200, {"content-type": "image/jpeg"}, JPEG)
        return garbled(self.rng, POLLS, "")


# --- the lives ------------------------------------------------------------------------------------------------


class Caught(logging.Handler):
    """Keeps what is logged: a bug is an error, and nothing secret stands in any line."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def check_shown(thing: BaseException | Result) -> None:
    """Nothing that a program may print or store shows a signature or a prompt; everything pickles."""
    shown = [repr(thing)]
    cause: BaseException | None = thing if isinstance(thing, BaseException) else None
    while cause is not None:
        shown += [str(cause), repr(cause)]
        cause = cause.__cause__
    for text in shown:
        assert SECRET not in text
        assert PROMPT not in text
    again = pickle.loads(pickle.dumps(thing))
    assert repr(again) == repr(thing)
    if isinstance(thing, Result):
        assert (again.task_id, again.url) == (thing.task_id, thing.url)


async def live(rng: random.Random) -> None:
    """A few requests on a garbling server, from the opening to long after the close."""
    loop = asyncio.get_running_loop()
    api = GarblingAPI(
        limit=2, service_s=lambda _: rng.random() * 3, rng=rng, share=rng.choice([0.2, 0.6, 0.95])
    )
    bfl = await AsyncBFL(
        limits=Limits(account=2, unknown_s=15), polling=Fixed(0.5), transport=api, timeouts=Timeouts(task=40)
    ).open()
    seed(bfl, rng.randrange(2**32))
    timeout = rng.choice([None, 30.0])
    began = loop.time()
    calls = [
        asyncio.create_task(bfl.generate(FluxPro11(prompt=PROMPT, seed=n), timeout=timeout)) for n in range(3)
    ]
    attached = bfl.attach("task-9", cost=2.0)
    ends: list[Result | BaseException] = list(
        await asyncio.gather(*calls, attached.result(), return_exceptions=True)
    )
    # The longest that a server may ask us to wait is an hour, and it may ask at each of ten attempts.
    assert loop.time() - began < (45 if timeout else 40_000)
    for end in ends:
        assert isinstance(end, Result | BFLError), repr(end)
        check_shown(end)
        if isinstance(end, Result):
            try:
                assert await end.read(timeout=5)
            except BFLError as exc:
                check_shown(exc)
    try:
        assert isinstance(await bfl.credits(), float)
    except BFLError as exc:
        check_shown(exc)
    assert await bfl.drain(40_000)
    seen = bfl.statistics()
    assert seen.ready + seen.moderated + seen.failed + seen.ambiguous + seen.withdrawn == 4
    paid = [task.body["seed"] for task in api.tasks.values()]
    assert len(paid) == len(set(paid))
    await asyncio.sleep(20)  # lost slots come back
    assert bfl.statistics().slots_taken == 0
    await bfl.aclose()
    assert len(asyncio.all_tasks()) == 1


def run(seeds: list[int]) -> None:
    caught = Caught()
    logger = logging.getLogger("bfl_async")
    level = logger.level
    logger.addHandler(caught)
    logger.setLevel(logging.DEBUG)
    unhandled: list[dict[str, object]] = []
    try:
        with looptime_runner() as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            for number in seeds:
                caught.records.clear()
                try:
                    runner.run(live(random.Random(number)))
                    assert unhandled == []
                    for record in caught.records:
                        assert record.levelno < logging.ERROR, record.exc_info or record.getMessage()
                        assert SECRET not in record.getMessage()
                        assert PROMPT not in record.getMessage()
                except BaseException as exc:
                    exc.add_note(f"replay with BFL_FUZZ_SEED={number}")
                    raise
    finally:
        logger.removeHandler(caught)
        logger.setLevel(level)


def seeds(count: int) -> list[int]:
    given = os.environ.get("BFL_FUZZ_SEED")
    first = random.SystemRandom().randrange(10**9)
    return [int(given)] if given else list(range(first, first + count))


@pytest.mark.timeout(120)
def test_garbled_replies_end_in_errors_of_ours_or_in_progress() -> None:
    """Invariants 3, 4 and 8: whatever stands in a reply, each request has one outcome, and nothing leaks."""
    run(seeds(400))


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_ten_thousand_garbled_replies_end_in_errors_of_ours_or_in_progress() -> None:
    """The same, with far more than 10,000 garbled replies."""
    run(seeds(2_500))


def test_any_retry_after_is_a_wait_or_none() -> None:
    """A header is data: no text in it raises, and no wait is negative or endless."""
    rng = random.Random(1)
    texts = list(ODD_WAITS)
    for _ in range(3_000):
        text = list(rng.choice(ODD_WAITS[-10:]))
        for _ in range(rng.randrange(4)):
            if text:
                text[rng.randrange(len(text))] = rng.choice("0129-+:, GMT\x00é")
        texts.append("".join(text))
    for each in texts:
        wait_s = retry_after_s({"retry-after": each}, now=1_800_000_000.0)
        assert wait_s is None or 0 <= wait_s <= 3_600


def test_any_url_has_an_end_or_none() -> None:
    """The end of a signed URL is read leniently."""
    rng = random.Random(1)
    for _ in range(3_000):
        end = list("2099-01-01T00%3A00%3A00Z")
        for _ in range(rng.randrange(4)):
            end[rng.randrange(len(end))] = rng.choice("0129-+:%TZé")
        moment = expiry_of(f"https://h.example/x?se={''.join(end)}&sig=1")
        assert moment is None or isinstance(moment, float)
