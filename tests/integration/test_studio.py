"""The server of the studio, with many clients and with strangers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from PIL import Image

from bfl_async import AsyncBFL
from bfl_async.catalog import CATALOG
from bfl_async.sandbox import Sandbox
from tests.media import mp4, png
from tests.studio import Place, Serve, a_session, draw, serving_studios
from tests.web import free_socket, serving_aiohttp, serving_asgi

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve a studio that draws with the given sandbox and gets its deliveries."""
    async with serving_studios(tmp_path / "images") as serve_one:
        yield serve_one


async def watch(session: ClientSession, place: Place, picture_id: str) -> list[dict[str, object]]:
    """Read a picture's events to the end."""
    async with session.get(f"{place.url}/pictures/{picture_id}/events") as reply:
        assert reply.status == 200
        return [json.loads(line[6:]) async for line in reply.content if line.startswith(b"data: ")]


@pytest.mark.slow
async def test_two_hundred_watchers_each_see_the_end_of_their_own_task(serve: Serve) -> None:
    """One process, 12 slots: nobody is told another's, and a watcher who leaves frees nothing but its wait."""

    def service_s(_: str, number: int) -> float:
        return 0.1 + 0.02 * (number % 5)

    place = await serve(Sandbox(limit=12, service_s=service_s))
    async with a_session() as session:

        async def one(number: int) -> None:
            prompt = f"number {number}" + (" [moderate-output]" if number % 20 == 0 else "")
            picture_id = await draw(session, place, prompt)
            if number % 10 == 5:  # leaves at once
                leaver = asyncio.create_task(watch(session, place, picture_id))
                await asyncio.sleep(0.01 * (number % 40))
                leaver.cancel()
                return
            told = await watch(session, place, picture_id)
            end = told[-1]
            assert [item["state"] for item in told].count("settled") == 1
            assert end["state"] == "settled"
            assert ("error" in end) == (number % 20 == 0)
            task_id = str(end["task_id"])
            assert place.sandbox.tasks[task_id].prompt == prompt

        await asyncio.gather(*map(one, range(200)))
        assert await place.client.drain(20)
        now, served = place.client.statistics(), place.sandbox.statistics()
        assert (now.ready, now.moderated, now.slots_taken) == (190, 10, 0)
        assert (served.accepted, served.peak_active, served.refused_429) == (200, 12, 0)


async def test_browser_that_comes_back_is_told_what_it_missed_and_no_more(serve: Serve) -> None:
    """By `Last-Event-ID`: nothing that it has seen, then what is new; after the end 204 keeps it away."""
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        picture_id = await draw(session, place, "x")
        url = f"{place.url}/pictures/{picture_id}/events"
        await place.sandbox.wait_accepted(1)

        async def read(last_id: str, until: str) -> tuple[list[str], str]:
            ids: list[str] = []
            async with session.get(url, headers={"Last-Event-ID": last_id} if last_id else {}) as reply:
                assert reply.status == 200
                async for line in reply.content:
                    if line.startswith(b"id: "):
                        ids.append(line[4:].decode().strip())
                        if ids[-1].startswith(until):
                            return ids, ids[-1]
            raise AssertionError("it ended before")

        _, last = await read("", "submitted.50656e64696e67")  # Pending
        (task_id,) = place.sandbox.tasks
        asyncio.get_running_loop().call_later(0.2, place.sandbox.settle, task_id)
        ids, end = await read(last, "settled")
        assert last not in ids
        async with session.get(url, headers={"Last-Event-ID": end}) as reply:
            assert reply.status == 204
        ids, _ = await read("", "settled")
        assert len(ids) == 1


async def test_page_that_comes_back_gets_what_changed_since(serve: Serve) -> None:
    """The stream of all pictures resumes by its number; one of another process starts anew."""
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        for number in range(3):
            await draw(session, place, f"number {number}")
        await place.sandbox.wait_accepted(3)

        async def read(after: str, count: int) -> tuple[list[str], list[str]]:
            kinds: list[str] = []
            ids: list[str] = []
            async with session.get(f"{place.url}/events", params={"after": after}) as reply:
                async for line in reply.content:
                    if line.startswith(b"event: "):
                        kinds.append(line[7:].decode().strip())
                    if line.startswith(b"id: "):
                        ids.append(line[4:].decode().strip())
                    if line == b"\n" and len(kinds) >= count:
                        return kinds, ids
            raise AssertionError("it ended")

        kinds, ids = await read("", 4)
        assert kinds.count("picture") >= 3
        assert "reset" not in kinds
        task_id = next(iter(place.sandbox.tasks))
        place.sandbox.settle(task_id, "Error")
        kinds, later = await read(ids[-1], 1)
        assert not {*ids} & {*later}
        kinds, _ = await read("0badc0de-17", 4)
        assert kinds[0] == "reset"
        assert kinds.count("picture") >= 3


async def test_server_refuses_what_it_must(serve: Serve) -> None:
    """Other sites, wrong wishes, strange pictures; and every answer has the strict policy."""
    place = await serve(Sandbox(service_s=0.0))
    async with a_session() as session:
        wish = {"model": "flux-dev", "prompt": "x"}
        for headers, body, status in (
            ({"Origin": "https://evil.example"}, wish, 403),
            ({"Origin": place.url}, wish, 202),
            ({}, {"model": "flux-9", "prompt": "x"}, 422),
            ({}, {"model": "flux-dev", "prompt": ""}, 422),
            ({}, {"model": "flux-dev", "prompt": "x" * 5000}, 422),
            ({}, {"model": "flux-dev", "prompt": "half a pair \ud83e"}, 422),
        ):
            async with session.post(f"{place.url}/pictures", json=body, headers=headers) as reply:
                assert reply.status == status
                assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        # What a form of another site can send:
        async with session.post(
            f"{place.url}/pictures", data=json.dumps(wish), headers={"Content-Type": "text/plain"}
        ) as reply:
            assert reply.status == 415
        for path in (
            "pictures/none",
            "pictures/none/events",
            "pictures/none/image",
            "pictures/..%2f..%2fapp.py/image",
        ):
            async with session.get(f"{place.url}/{path}") as reply:
                assert reply.status == 404
        await place.client.drain(10)
        assert place.sandbox.statistics().accepted == 1


async def test_no_other_site_gets_an_answer_of_the_studio(serve: Serve) -> None:
    """Not by a name of its own that leads here, not by a script, and not by any form; whatever the method."""
    place = await serve(Sandbox(service_s=0.0))
    port = urlsplit(place.url).port
    wish = json.dumps({"model": "flux-dev", "prompt": "x"})
    async with a_session() as session:
        for path in ("/", "/events", "/static/studio.js", "/pictures/none", "/credits"):
            for name in (
                "evil.example",
                f"evil.example:{port}",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
                "2130706433",
            ):
                async with session.get(place.url + path, headers={"Host": name}) as reply:
                    assert reply.status == 421, (path, name)
            for origin in (
                "https://evil.example",
                "null",
                f"http://localhost:{port}",
                f"http://127.0.0.1:{1 + (port or 0)}",
            ):
                async with session.get(place.url + path, headers={"Origin": origin}) as reply:
                    assert reply.status == 403, (path, origin)
        for kind in (
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
        ):
            async with session.post(
                f"{place.url}/pictures", data=wish, headers={"Content-Type": kind}
            ) as reply:
                assert reply.status == 415, kind
        as_json = {"Content-Type": "application/json; charset=utf-8"}
        async with session.post(
            f"{place.url}/pictures", data=b" " * 70_000 + wish.encode(), headers=as_json
        ) as reply:
            assert reply.status == 413

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(1_000):
                yield b" " * 10_000

        with contextlib.suppress(OSError, ClientError):
            async with session.post(f"{place.url}/pictures", data=pieces(), headers=as_json) as reply:
                assert reply.status in (400, 413)
        async with session.get(place.url, headers={"Host": f"localhost:{port}"}) as reply:
            assert reply.status == 200
    assert place.sandbox.statistics().accepted == 0


async def test_server_chooses_no_name_and_no_type_of_a_file(tmp_path: Path) -> None:
    """Ids that are paths, and results that are anything: files lie in the folder, and only images are shown."""
    from examples.studio.app import create_app

    folder = tmp_path / "a" / "b" / "images"
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    results = {
        "../../escaped.desktop": (picture.getvalue(), "image/png"),
        str(tmp_path / "absolute"): (picture.getvalue(), "text/html"),
        "x\0y": (svg, "image/svg+xml"),
        "..": (b"<script>alert(1)</script>", "image/x"),
        "page.html": (b"GIF89a<script>alert(1)</script>", "image/gif"),
    }
    ids = iter(results)

    async def submit(request: web.Request) -> web.Response:
        return web.json_response({"id": next(ids), "polling_url": None})

    async def poll(request: web.Request) -> web.Response:
        number = [*results].index(request.query["id"])
        return web.json_response(
            {
                "id": request.query["id"],
                "status": "Ready",
                "result": {"sample": f"http://{request.host}/r/{number}"},
            }
        )

    async def result(request: web.Request) -> web.Response:
        data, kind = [*results.values()][int(request.match_info["number"])]
        return web.Response(body=data, headers={"Content-Type": kind})

    api = web.Application()
    api.router.add_post("/v1/{model}", submit)
    api.router.add_get("/v1/get_result", poll)
    api.router.add_get("/r/{number}", result)
    async with serving_aiohttp(api, free_socket()) as base_url:
        # What is no image is downloaded again until the time is over, so the time is short.
        app = create_app(lambda: AsyncBFL("a-key", base_url=base_url), folder, finish_s=0.5, save_s=1.0)
        async with serving_asgi(app, free_socket()) as url, a_session() as session:
            place = Place(url, Sandbox(), app)
            shown = []
            for number in range(len(results)):
                picture_id = await draw(session, place, f"number {number}")
                _, unfinished = await asyncio.wait([*app.state.studio._followers], timeout=20)
                assert not unfinished
                told = app.state.studio.pictures[picture_id].shown(0.0)
                if told["state"] == "saved":
                    async with session.get(f"{url}/pictures/{picture_id}/image") as reply:
                        as_file = "attachment" in reply.headers.get("Content-Disposition", "")
                        assert reply.headers["X-Content-Type-Options"] == "nosniff"
                        assert as_file or reply.content_type in ("image/png", "image/jpeg", "image/webp")
                        shown.append(number)
    assert shown[:2] == [0, 1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(shown)
    assert all(
        path.parent == folder and re.fullmatch(r"[0-9a-f]{32}\.[a-z0-9]+", path.name) for path in files
    )


def as_input(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode()}


async def send_input(session: ClientSession, place: Place, data: bytes) -> str:
    body, headers = io.BytesIO(json.dumps(as_input(data)).encode()), {"Content-Type": "application/json"}
    async with session.post(f"{place.url}/inputs", data=body, headers=headers) as reply:
        assert reply.status == 201, await reply.text()
        return str((await reply.json())["id"])


@pytest.mark.filterwarnings("ignore:the model .* is retired:FutureWarning")
async def test_every_model_of_the_catalog_can_be_asked_for(serve: Serve) -> None:
    """With an image or a video wherever its entry has a place for one, the sandbox accepts its request."""
    from examples.studio.models import GROUPS, entries

    place = await serve(Sandbox(service_s=math.inf, limit=100, pools={}))
    models = entries()
    assert {entry.model for entry in models.values()} == set(CATALOG)
    assert {entry.group for entry in models.values()} == set(GROUPS)
    async with a_session() as session:
        media = {
            "image": await send_input(session, place, png(512, 512)),
            "video": await send_input(session, place, mp4(640, 480, 6.0)),
        }
        for entry in models.values():
            if any(slot.kind == "draft" for slot in entry.slots):
                continue
            wish = {
                "model": entry.id,
                "prompt": "a cat" if entry.prompt else "",
                "images": {slot.fields[0]: [media[slot.kind]] for slot in entry.slots},
                "settings": {each.name: "sandbox-fox" for each in entry.settings if each.required},
            }
            if entry.needs_sides:
                wish["ratio"] = "16:9"
            async with session.post(f"{place.url}/price", json=wish) as reply:
                assert "problem" not in await reply.json(), entry.id
            async with session.post(f"{place.url}/pictures", json=wish) as reply:
                assert reply.status == 202, (entry.id, await reply.text())
        async with asyncio.timeout(30):
            await place.sandbox.wait_accepted(len(models) - 1)
    assert place.sandbox.statistics().refused_422 == 0


async def test_wish_that_would_become_another_one_is_refused(serve: Serve) -> None:
    """What a model does not take is not left out, since something else would be paid for; the price says so too."""
    place = await serve(Sandbox(service_s=0.0))
    async with a_session() as session:
        image = await send_input(session, place, png(64, 64))
        for more, said in (
            ({"model": "flux-dev", "prompt": "\u200b \u2060"}, "Describe"),
            ({"model": "flux-dev", "prompt": "", "images": {"image_prompt": []}}, "Describe"),
            ({"model": "flux-3-image", "seed": 1}, "a seed"),
            ({"model": "flux-pro-1.1-ultra", "width": 512}, "a width"),
            ({"model": "flux-pro-1.1-ultra", "megapixels": 1.0}, "megapixels"),
            ({"model": "flux-dev", "width": 512, "ratio": "16:9"}, "a ratio"),
            ({"model": "flux-dev", "ratio": "wide"}, "aspect_ratio"),
            ({"model": "flux-dev", "width": 513}, "width"),
            ({"model": "flux-dev", "images": {"input_image": [image]}}, "input_image"),
            ({"model": "flux-dev", "images": {"image_prompt": [image, image]}}, "at most 1"),
            ({"model": "flux-dev", "images": {"image_prompt": ["../../etc/passwd"]}}, "no longer here"),
            ({"model": "flux-dev", "images": {"image_prompt": ["https://evil.example/x.png"]}}, "no longer here"),
            ({"model": "flux-dev", "settings": {"webhook_url": "https://evil.example/x"}}, "webhook_url"),
            ({"model": "flux-dev", "settings": {"user": "x"}}, "user"),
            ({"model": "flux-dev", "settings": {"steps": 0}}, "steps"),
            ({"model": "flux-tools/deblur-v1", "images": {"image": [image]}}, "a prompt"),
            ({"model": "flux-tools/erase-v1", "prompt": "", "images": {"image": [image]}}, "mask"),
            ({"model": "flux-3-video#i2v"}, "keyframes"),
            ({"model": "flux-3-video#draft_enhance", "prompt": "", "images": {"draft_cache": [image]}}, "no longer"),
        ):  # fmt: skip
            wish = {"prompt": "x", **more}
            async with session.post(f"{place.url}/pictures", json=wish) as reply:
                assert reply.status == 422, wish
                assert said in (await reply.json())["detail"], wish
            async with session.post(f"{place.url}/price", json=wish) as reply:
                assert said in (await reply.json())["problem"], wish
        for malformed in (
            {"model": "flux-dev", "prompt": "x", "widht": 512},
            {"model": "flux-dev", "prompt": "x", "seed": 2**64},
            {"model": "flux-dev", "prompt": "x", "images": {"image_prompt": ["x"] * 11}},
            {"model": "flux-dev", "prompt": "x", "settings": {"steps": {"a": 1}}},
        ):
            async with session.post(f"{place.url}/pictures", json=malformed) as reply:
                assert reply.status == 422, malformed
    assert place.sandbox.statistics().accepted == 0


async def test_input_is_an_image_or_a_video_and_bounded(serve: Serve, tmp_path: Path) -> None:
    """By its bytes; it is kept under a name of the server's, and is never sent back."""
    place = await serve(Sandbox(service_s=0.0))
    async with a_session() as session:
        for data in (b"", b"GIF89a", b"<svg/>", b"x" * 100):
            async with session.post(f"{place.url}/inputs", json=as_input(data)) as reply:
                assert reply.status == 422
        for body, kind, status in (
            (b'{"data": "%%%"}', "application/json", 422),
            (png(8, 8), "image/png", 415),
            (b'{"data": "' + b"A" * 28_000_000 + b'"}', "application/json", 413),
        ):
            with contextlib.suppress(OSError, ClientError):
                headers = {"Content-Type": kind}
                async with session.post(
                    f"{place.url}/inputs", data=io.BytesIO(body), headers=headers
                ) as reply:
                    assert reply.status == status
        large = png(8, 8) + b"x" * 19_000_000
        input_id = await send_input(session, place, large)
        for path in (f"pictures/{input_id}/image", f"inputs/{input_id}", "inputs"):
            async with session.get(f"{place.url}/{path}") as reply:
                assert reply.status in (404, 405)
    (kept,) = (tmp_path / "images" / "inputs").iterdir()
    assert kept.read_bytes() == large
    assert re.fullmatch("[0-9a-f]{32}", kept.name)


async def test_picture_is_marked_and_deleted_only_by_the_page(serve: Serve) -> None:
    """Other sites are refused whatever the method; one that runs is not deleted; twice is once."""
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        picture_id = await draw(session, place, "x")
        await place.sandbox.wait_accepted(1)
        url = f"{place.url}/pictures/{picture_id}"
        evil = {"Origin": "https://evil.example"}
        as_text = {"Content-Type": "text/plain"}
        for method, path, headers, status in (
            ("DELETE", url, evil, 403),
            ("PATCH", url, evil | {"Content-Type": "application/json"}, 403),
            ("PATCH", url, as_text, 415),
            ("POST", f"{url}/cancel", as_text, 415),
            ("DELETE", url, {"Host": "evil.example"}, 421),
            ("DELETE", url, {}, 422),
        ):
            body = None if method == "DELETE" else '{"favourite": true}'
            async with session.request(method, path, data=body, headers=headers) as reply:
                assert reply.status == status, (method, headers)
        async with session.post(f"{url}/cancel", json={}) as reply:
            assert (await reply.json()) == {"cancelled": False}
        (task_id,) = place.sandbox.tasks
        place.sandbox.settle(task_id)
        await asyncio.wait([*place.app.state.studio._followers], timeout=20)
        (file,) = [path for path in place.app.state.studio._folder.iterdir() if path.is_file()]
        async with session.patch(url, json={"favourite": True}) as reply:
            assert (await reply.json())["favourite"] is True
        async with session.delete(url) as reply:
            assert reply.status == 204
        assert not file.exists()
        for method in ("DELETE", "GET"):
            async with session.request(method, url) as reply:
                assert reply.status == 404


async def test_oldest_ordinary_picture_gives_way_and_pages_hear_of_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A favourite stays; a page that comes back hears what went meanwhile."""
    monkeypatch.setattr("examples.studio.pictures.MOST_PICTURES", 2)
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        first = await draw(session, place, "the first")
        second = await draw(session, place, "the second")
        async with session.patch(f"{place.url}/pictures/{first}", json={"favourite": True}):
            pass

        async def read(after: str, until: str) -> tuple[str, list[tuple[str, str]]]:
            heard: list[tuple[str, str]] = []
            kind = last_id = ""
            async with session.get(f"{place.url}/events", params={"after": after}) as reply:
                async for line in reply.content:
                    name, _, value = line.decode().strip().partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "id":
                        last_id = value
                    elif name == "data" and kind in ("picture", "gone"):
                        heard.append((kind, json.loads(value)["id"]))
                        if heard[-1] == (until.partition(" ")[0], until.partition(" ")[2]):
                            return last_id, heard
            raise AssertionError("it ended")

        # Marking is the newest change.
        last_id, _ = await read("", f"picture {first}")
        third = await draw(session, place, "the third")
        _, heard = await read(last_id, f"picture {third}")
        assert ("gone", second) in heard
        assert ("gone", first) not in heard


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.alone
async def test_hundreds_of_pictures_leave_memory_flat(serve: Serve) -> None:
    """What is kept of pictures is bounded: the last ones take no more than those before."""
    import gc
    import tracemalloc

    place = await serve(Sandbox(limit=48, service_s=0.0, retain=50))
    async with a_session() as session:

        async def some(count: int) -> None:
            async def worker(numbers: list[int]) -> None:
                for number in numbers:
                    await watch(session, place, await draw(session, place, f"number {number}"))

            await asyncio.gather(*(worker(list(range(at, count, 16))) for at in range(16)))

        # Somebody looks on all the time. A look that timed out would leave what comes in its buffer.
        async with session.get(f"{place.url}/events", timeout=ClientTimeout(total=None)) as page:

            async def look() -> None:
                async for _ in page.content.iter_any():
                    pass

            looker = asyncio.create_task(look())
            tracemalloc.start()
            await some(800)  # fills whatever is kept, and takes the place of what caches had before
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await some(400)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert not looker.done()
            looker.cancel()
        # Ids of ended tasks are remembered, up to 10,000. A picture has 40 KB, so 400 that stay are 16 MB.
        assert after - before < 2_000_000
        assert len(place.app.state.studio.pictures) == 300
        assert len(place.app.state.bfl_handles) <= 300
        assert place.client.statistics().ready == 1_200


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_studio_ends_quietly_while_a_page_is_open(tmp_path: Path, number: int, code: int) -> None:
    """The page's stream ends with it, so nothing is cut and nothing is logged."""
    with free_socket() as bound:
        port = bound.getsockname()[1]
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.studio", "--sandbox", "--port", str(port), "--folder", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert command.stdout is not None
        assert str(port).encode() in await command.stdout.readline()
        async with a_session() as session, asyncio.timeout(30):
            while True:
                with contextlib.suppress(ClientError):
                    page = await session.get(f"http://127.0.0.1:{port}/events")
                    break
                await asyncio.sleep(0.1)
            assert await page.content.readline()
            command.send_signal(number)
            await page.read()
            assert (await command.communicate())[1] == b""
        assert command.returncode == code
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        await command.wait()
