"""What a hostile reply can cost: how long it blocks the event loop, and how much memory it takes over idle.

    python -m benchmarks.hostile                  # every row, about a minute
    python -m benchmarks.hostile --call poll,get
    python -m benchmarks.hostile --runs 9

A server on loopback answers each call with a reply that was made to be expensive. The client runs in a process of its
own, one for each kind of call. Blocking is the longest single callback of the event loop, in CPU time of its thread, so
that a busy machine disturbs it little; the best of several runs counts. Memory is the peak of the resident set, less
what the process has while it is idle, over all runs.

One kind of answer is not in the table: base64 of an image, in the answer to a submit, is read up to 88 MiB where the
base URL is not BFL's own, for hosts that answer so. This server is such a host. docs/reference/replies.md says what
that costs. From BFL's own hosts it costs what any other answer does.

Expected: each row blocks the loop for at most 10 ms and takes at most 64 MB. The exit code is 1, and a line says why,
if one does not.

To add a row, add a body to `BODIES` (it is then sent to every call), or an entry to `ROWS`. A new kind of call is a
coroutine function in `CALLS`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import aligned
from bfl_async import AsyncBFL, BFLError, Timeouts
from bfl_async.webhooks.verify import verify

MAX_BLOCKED_MS = 10.0
MAX_PEAK_MB = 64.0
RUNS = 8

_KEY = "a-key-of-the-benchmark"
_SECRET = "a secret of the benchmark"
_PROMPT = "a fox in the snow, " * 200
_MIB = 2**20


class HostileReply(NamedTuple):
    """What the server sends."""

    body: bytes
    status: int = 200
    headers: tuple[str, ...] = ()


def gzipped(parts: Iterator[bytes] | Sequence[bytes]) -> HostileReply:
    """Return a reply whose body is compressed as far as it can be."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    packed = b"".join([*(packer.compress(part) for part in parts), packer.flush()])
    return HostileReply(packed, headers=("Content-Encoding: gzip",))


def around(value: bytes) -> bytes:
    """Return an answer that serves every call, with a hostile value in a field that is not needed."""
    return b'{"id": "t1", "status": "Pending", "credits": 5, "finetunes": [], "x": %b}' % value


def wide(item: bytes, count: int) -> bytes:
    """Return a list of `count` equal items."""
    return b"[" + b",".join([item] * count) + b"]"


def _escaped_key() -> bytes:
    return "".join(f"\\u{ord(char):04x}" for char in _KEY).encode()


def _errors(count: int, message: str) -> bytes:
    item = {"loc": ["body", "prompt"], "msg": message, "input": _PROMPT[:100], "type": "x"}
    return json.dumps({"detail": [item] * count}).encode()


def _bodies() -> dict[str, HostileReply]:
    """Return what is sent to every call, by name."""
    whole = {
        "objects, 256 KiB": around(wide(b"{}", 87_000)),
        "objects, all that may be parsed": around(wide(b'{"a":[1]}', 1_900)),
        "objects and texts, 1 MiB": around(wide(b'{"a":"%b"}' % (b"x" * 200), 4_900)),
        "texts, all that may be parsed": around(wide(b'"%b"' % (b"x" * 35), 5_900)),
        "lists, 900 deep": around(b"[" * 900 + b"1" + b"]" * 900),
        "lists, 9,000 deep": around(b"[" * 9_000 + b"]" * 9_000),
        "lists, 4,000,000 deep": b'{"a": ' + b"[" * 4_000_000,
        "a text, 250 KiB": around(b'"%b"' % (b"a" * 250_000)),
        "commas in a text, 1 MiB": around(b'"%b"' % (b"," * 1_000_000)),
        "backslashes, 250 KiB": around(b'"%b"' % (b"\\" * 250_000)),
        "escapes, 250 KiB": around(b'"%b"' % (rb"\u0061" * 41_000)),
        "bad escapes, 250 KiB": around(b'"%b"' % (rb"\u006" * 50_000)),
        "the key in escapes, 250 KiB": around(b'"%b"' % (_escaped_key() * 1_800)),
        "the key, 250 KiB": around(b'"%b"' % (_KEY.encode() * 11_000)),
        "not UTF-8, 250 KiB": around(b'"%b"' % (b"\xff" * 250_000)),
        "quotes, 1 MiB": around(b'"%b"' % (rb"\"" * 500_000)),
        "texts that break off": b'{"a": [' + b'"",' * 80_000,
        "a number of 250,000 digits": around(b"9" * 250_000),
        "numbers of 600 digits": around(wide(b"9" * 600, 400)),
        "NUL, 250 KiB": b"\0" * 250_000,
        "HTML, 1 MiB": b"<html>" + b"<p>https://h.example/?a=b</p>" * 36_000,
        "an id and a status of 100,000 characters": json.dumps(
            {"id": "i" * 100_000, "status": "s" * 100_000, "polling_url": "https://h.example/" + "p" * 50_000}
        ).encode(),
        "moderation reasons": json.dumps(
            {
                "id": "t1",
                "status": "Content Moderated",
                "details": {"Moderation Reasons": [_PROMPT[:20]] * 9_000},
            }
        ).encode(),
        "one very long reason": json.dumps(
            {"id": "t1", "status": "Request Moderated", "details": {"Moderation Reasons": [_PROMPT * 60]}}
        ).encode(),
        "a list of errors, long": _errors(2_000, "aaaa"),
        "a list of errors that repeat the prompt": _errors(60, _PROMPT[:3_500]),
    }
    bodies = {name: HostileReply(body) for name, body in whole.items()}
    bodies["gzip, 16 MiB of objects"] = gzipped([around(wide(b"{}", 5_500_000))])
    bodies["gzip, 128 MiB of one text"] = gzipped(
        part for part in (b'{"status": "', *[b"a" * _MIB] * 128, b'"}')
    )
    bodies["gzip within gzip"] = HostileReply(
        gzipped([gzipped([b"\0" * 64 * _MIB]).body]).body, headers=("Content-Encoding: gzip, gzip",)
    )
    bodies["deflate, 64 MiB"] = HostileReply(
        zlib.compress(b"\0" * 64 * _MIB, 9), headers=("Content-Encoding: deflate",)
    )
    return bodies


class Row(NamedTuple):
    """One line of the table."""

    call: str
    name: str
    reply: HostileReply


async def _poll(bfl: AsyncBFL, _: HostileReply) -> None:
    await bfl.attach("t1", model="flux-dev").result(timeout=0.1)


async def _submit(bfl: AsyncBFL, _: HostileReply) -> None:
    await bfl.generate("flux-dev", prompt=_PROMPT, timeout=0.1)


async def _credits(bfl: AsyncBFL, _: HostileReply) -> None:
    async with asyncio.timeout(0.1):
        await bfl.credits()


async def _get(bfl: AsyncBFL, _: HostileReply) -> None:
    reply = await bfl.get("/v1/some/list", timeout=0.1)
    reply.json()


async def _finetunes(bfl: AsyncBFL, _: HostileReply) -> None:
    async with asyncio.timeout(0.1):
        await bfl.finetunes()


async def _post(bfl: AsyncBFL, _: HostileReply) -> None:
    reply = await bfl.post("/v1/some-model", json={"prompt": _PROMPT}, timeout=0.1)
    reply.json()


async def _delivery(_: AsyncBFL, reply: HostileReply) -> None:
    proof = hmac.new(_SECRET.encode(), reply.body, hashlib.sha256).hexdigest()

    def deliver() -> None:
        with contextlib.suppress(BFLError):
            verify(reply.body, {"X-BFL-Signature": f"sha256={proof}"}, _SECRET, now=None)

    asyncio.get_running_loop().call_soon(deliver)
    await asyncio.sleep(0.01)


CALLS: dict[str, Callable[[AsyncBFL, HostileReply], Awaitable[None]]] = {
    "poll": _poll,
    "submit": _submit,
    # The same calls, with a status that makes the reply an error.
    "poll error": _poll,
    "submit error": _submit,
    "credits": _credits,
    "get": _get,
    "finetunes": _finetunes,
    "post": _post,
    "delivery": _delivery,
}
_STATUS = {"poll error": 503, "submit error": 422}

BODIES = _bodies()
# An answer of the API, against which the others can be compared.
_PLAIN = HostileReply(around(b"1"))

ROWS = [
    Row(call, name, reply._replace(status=_STATUS.get(call, 200)))
    for call in CALLS
    for name, reply in {"an ordinary answer": _PLAIN, **BODIES}.items()
    # A webhook's front end refuses a body that is compressed.
    if not (call == "delivery" and reply.headers)
]


# --- the server -----------------------------------------------------------------------------------------


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests for `/<number of the row>/...` until the client hangs up."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].split("\r\n", 1)[0].strip()
            await reader.readexactly(int(length or 0))
            reply = ROWS[int(head.split("/", 2)[1])].reply
            lines = [f"HTTP/1.1 {reply.status} X", *reply.headers, f"Content-Length: {len(reply.body)}"]
            writer.write("\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode())
            writer.write(reply.body)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve the rows in a thread; yield the URL."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_serve_one, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


# --- the client's process -------------------------------------------------------------------------------


class _Watch:
    """Measures the callbacks of the event loop."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        run: Callable[[asyncio.Handle], None] = asyncio.Handle.__dict__["_run"]

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self.longest_s = max(self.longest_s, time.thread_time() - began)

        # The loop has no other hook.
        setattr(asyncio.Handle, "_run", timed)  # noqa: B010 - an assignment is refused by the type checker


def _memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def _settle_memory() -> float:
    """Give freed memory back, begin a new peak, and return what is left."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _memory_mb("VmRSS")


async def _measure(url: str, call: str, runs: int) -> None:
    """Print a line of JSON for each row of a call."""
    watch = _Watch()
    for number, row in enumerate(ROWS):
        if row.call != call:
            continue
        # The first run of all loads modules.
        blocked: list[float] = []
        idle_mb = 0.0
        for attempt in range(runs + 1):
            async with AsyncBFL(
                _KEY, base_url=f"{url}/{number}", timeouts=Timeouts(connect=1, reply=1, task=0.1, close=0.1)
            ) as bfl:
                if attempt == 1:
                    idle_mb = _settle_memory()
                gc.collect()
                # What follows is a callback of its own.
                await asyncio.sleep(0)
                watch.longest_s = 0.0
                with contextlib.suppress(BFLError, TimeoutError):
                    await CALLS[call](bfl, row.reply)
                blocked.append(watch.longest_s * 1e3)
        peak_mb = _memory_mb("VmHWM") - idle_mb
        sys.stdout.write(json.dumps([number, min(blocked[1:]), peak_mb]) + "\n")


# --- the table ------------------------------------------------------------------------------------------


def measure(calls: Sequence[str], runs: int) -> dict[int, tuple[float, float]]:
    """Return milliseconds of blocking and megabytes over idle for each row of `calls`, by its number."""
    found: dict[int, tuple[float, float]] = {}
    with serving() as url:
        for call in calls:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.hostile",
                    "--measure",
                    url,
                    "--call",
                    call,
                    "--runs",
                    str(runs),
                ],
                stdout=subprocess.PIPE,
                check=True,
                timeout=600,
            )
            for line in done.stdout.splitlines():
                number, blocked_ms, peak_mb = json.loads(line)
                found[number] = (blocked_ms, peak_mb)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and judge."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--call", default=",".join(CALLS), help=f"of {','.join(CALLS)}; default: all")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"the best counts; default: {RUNS}")
    parser.add_argument(
        "--max-ms",
        type=float,
        default=MAX_BLOCKED_MS,
        help=f"longest blocking that passes; default: {MAX_BLOCKED_MS:g}, for a quiet machine",
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    calls = [name.strip() for name in arguments.call.split(",")]
    if unknown := set(calls) - set(CALLS):
        parser.error(f"{', '.join(sorted(unknown))}: not a call")
    if arguments.measure:
        logging.getLogger("bfl_async").addHandler(logging.NullHandler())
        asyncio.run(_measure(arguments.measure, calls[0], arguments.runs))
        return 0
    found = measure(calls, arguments.runs)
    lines = [["call", "reply", "bytes", "blocks, ms", "over idle, MB"]]
    too_much: list[str] = []
    for number, (blocked_ms, peak_mb) in found.items():
        row = ROWS[number]
        lines.append([row.call, row.name, f"{len(row.reply.body):,}", f"{blocked_ms:.1f}", f"{peak_mb:.1f}"])
        if blocked_ms > arguments.max_ms or peak_mb > MAX_PEAK_MB:
            too_much.append(f"{row.call}, {row.name}: {blocked_ms:.1f} ms, {peak_mb:.1f} MB")
    sys.stdout.write(aligned(lines, texts=2) + "\n\n")
    for line in too_much:
        sys.stdout.write(f"too much: {line}\n")
    sys.stdout.write(
        f"{len(found)} rows, {len(too_much)} above {arguments.max_ms:g} ms or {MAX_PEAK_MB:g} MB over idle\n"
    )
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
