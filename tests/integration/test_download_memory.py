"""Saving streams: memory does not grow with the size of what is saved, and the loop is not held up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

MB = 2**20
SIZE = 200 * MB
HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + (SIZE - 24).to_bytes(4) + b"mdat"

CLIENT = """
import asyncio, json, resource, sys, time
from pathlib import Path
from bfl_async import AsyncBFL, Batch, Fixed, request

how, url, folder, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def main():
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            # Of this thread alone: other processes may have the processor meanwhile.
            began = time.thread_time()
            await asyncio.sleep(0.005)
            longest = max(longest, time.thread_time() - began)

    async with AsyncBFL("key-for-a-test", base_url=url, polling=Fixed(0.02), limits=count) as bfl:
        requests = [request("flux-dev", prompt=str(n)) for n in range(count)]
        # Everything that is loaded at first use is loaded.
        first = await bfl.generate(request("flux-dev", prompt="small"))
        await first.save(folder / "small", unchecked=True)
        before = peak_mb()
        watching = asyncio.create_task(watch())
        if how == "save":
            results = await bfl.gather(requests)
            await asyncio.gather(*(one.save(folder / str(n), timeout=300) for n, one in enumerate(results)))
        else:
            async with Batch.open(folder / "run.db", bfl, save_to=folder / "out") as batch:
                await batch.add(requests)
                states = [outcome.state async for outcome in batch.run()]
                assert states == ["saved"] * count, states
        watching.cancel()
        print(json.dumps({"grown_mb": peak_mb() - before, "longest_s": longest}))

asyncio.run(main())
"""


@asynccontextmanager
async def video_host() -> AsyncIterator[str]:
    """An API whose results are videos, the first one small."""
    tasks = 0
    block = bytes(MB)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tasks
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split()[1]
                for line in head.splitlines():
                    if line.lower().startswith("content-length:"):
                        await reader.readexactly(int(line.partition(":")[2]))
                if path.startswith("/video/"):
                    size = 2 * MB if path == "/video/1" else SIZE
                    writer.write(
                        b"HTTP/1.1 200 X\r\nContent-Length: %d\r\nContent-Type: video/mp4\r\n\r\n" % size
                    )
                    writer.write(HEAD)
                    left = size - len(HEAD)
                    while left:
                        await writer.drain()
                        writer.write(block[:left])
                        left -= len(block[:left])
                    continue
                if head.startswith("POST"):
                    tasks += 1
                    said: object = {"id": f"task-{tasks}", "polling_url": f"{url}/v1/get_result?id={tasks}"}
                else:
                    number = path.rpartition("=")[2]
                    said = {
                        "id": f"task-{number}",
                        "status": "Ready",
                        "result": {"sample": f"{url}/video/{number}"},
                    }
                body = json.dumps(said).encode()
                writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield url


def digest_of_a_video() -> str:
    digest = hashlib.sha256(HEAD)
    for _ in range(SIZE // MB - 1):
        digest.update(bytes(MB))
    digest.update(bytes(MB - len(HEAD)))
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="measures memory as Unix does")
@pytest.mark.parametrize("how", ["save", "batch"])
async def test_saving_eight_large_videos_at_once_holds_little_memory(how: str, tmp_path: Path) -> None:
    """1.6 GB on the way at once: the process grows by a few MB for each, and by none of their size."""
    async with video_host() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, how, url, str(tmp_path), "8",
            stdout=asyncio.subprocess.PIPE, env={**os.environ, "NO_PROXY": "*"},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0
    said = json.loads(out)
    videos = [path for path in tmp_path.rglob("*.mp4") if path.stat().st_size == SIZE]
    assert len(videos) == 8
    assert not list(tmp_path.rglob("*.part"))
    with videos[-1].open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest_of_a_video()
    if how == "batch":
        lines = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
        assert {json.loads(line)["sha256"] for line in lines} == {digest_of_a_video()}
    for path in videos:
        path.unlink()
    assert said["grown_mb"] < 64
    assert said["longest_s"] < 0.1
