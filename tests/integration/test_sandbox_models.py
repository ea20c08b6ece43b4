"""Each model of the sandbox over its socket: prices, sizes, results, and the calls that make no task."""

import asyncio
import base64
import io
import json
import math
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple, cast

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from PIL import Image
from yarl import URL

from bfl_async.sandbox import Sandbox
from bfl_async.sandbox.models import MODELS, Order
from tests.media import png, png_text

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

URL_OF_IMAGE = "https://example.org/fox.png"  # never fetched
URL_OF_VIDEO = "https://example.org/fox.mp4"
SQUARE = png_text(1024, 1024)
WIDE = png_text(512, 256)
BROKEN = "aGk="  # base64, but of no image

# The least that each endpoint takes beside a prompt.
NEEDS: dict[str, dict[str, Json]] = {
    "flux-pro-1.0-fill": {"image": WIDE, "mask": WIDE},
    "flux-pro-1.0-fill-finetuned": {"image": WIDE, "finetune_id": "sandbox-fox"},
    "flux-pro-1.0-expand": {"image": WIDE},
    "flux-pro-1.0-canny": {"control_image": WIDE},
    "flux-pro-1.0-depth": {"preprocessed_image": WIDE},
    "flux-pro-1.0-canny-finetuned": {"control_image": WIDE, "finetune_id": "sandbox-fox"},
    "flux-pro-1.0-depth-finetuned": {"control_image": WIDE, "finetune_id": "sandbox-fox"},
    "flux-tools/outpainting-v1": {"input_image": WIDE, "width": 640, "height": 512},
    "flux-tools/erase-v1": {"image": WIDE, "mask": WIDE},
    "flux-tools/deblur-v1": {"image": WIDE},
    "flux-tools/vto-v1": {"person": WIDE, "garment": SQUARE},
    "flux-tools/vto-v2": {"person": WIDE, "garment": SQUARE},
    "flux-3-video": {"mode": "t2v"},
    "flux-tools/video-edit-v1": {"video": URL_OF_VIDEO},
    "flux-tools/video-upscale-v1": {"input_video": URL_OF_VIDEO},
}
STRICT = {
    *("flux-tools/outpainting-v1", "flux-3-image", "flux-3-video"),
    *("flux-tools/video-edit-v1", "flux-tools/video-upscale-v1"),
}


def body_of(model: str, **fields: Json) -> dict[str, Json]:
    finetune = {"finetune_id": "org-1/ink"} if model.endswith("-finetuned") else {}
    return {"prompt": "a fox", **finetune, **NEEDS.get(model, {}), **fields}


class Reply(NamedTuple):
    status: int
    body: dict[str, Json]


class Client:
    """A client with no cleverness of its own."""

    def __init__(self, session: ClientSession, sandbox: Sandbox) -> None:
        self.session = session
        self.sandbox = sandbox

    async def call(self, method: str, path: str, *, key: str | None, body: Json = None) -> Reply:
        headers = {} if key is None else {"x-key": key}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        async with self.session.request(
            method, URL(self.sandbox.url + path, encoded=True), data=data, headers=headers
        ) as response:
            return Reply(response.status, cast(dict[str, Json], await response.json()))

    async def submit(self, model: str, **fields: Json) -> Reply:
        """Exactly these fields beside those that the model needs."""
        body = {name: value for name, value in body_of(model, **fields).items() if value != "left out"}
        return await self.call("POST", f"/v1/{model}", key=self.sandbox.key, body=body)

    async def poll(self, task_id: Json) -> dict[str, Json]:
        return (await self.call("GET", f"/v1/get_result?id={task_id}", key=None)).body

    async def result(self, model: str, **fields: Json) -> dict[str, Json]:
        """Submit, end the task and return its result."""
        reply = await self.submit(model, **fields)
        assert reply.status == 200, reply
        self.sandbox.settle(str(reply.body["id"]))
        result = (await self.poll(reply.body["id"]))["result"]
        assert isinstance(result, dict)
        return result

    async def download(self, url: Json) -> tuple[int, str, bytes]:
        async with self.session.get(URL(str(url), encoded=True)) as response:
            return response.status, response.content_type, await response.read()

    def last(self) -> dict[str, Json]:
        task = [*self.sandbox.tasks.values()][-1]
        return {"width": task.width, "height": task.height}


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose tasks end when the test says so."""
    async with Sandbox(service_s=math.inf, limit=100) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session, sandbox)


def error_of(reply: Reply) -> dict[str, Json]:
    """The one error of a 422."""
    assert reply.status == 422, reply
    detail = reply.body["detail"]
    assert isinstance(detail, list)
    assert len(detail) == 1, detail
    assert isinstance(detail[0], dict)
    return detail[0]


# ---- every model


@pytest.mark.parametrize("model", list(MODELS))
async def test_every_model_takes_a_request_to_its_result(client: Client, model: str) -> None:
    """With the least it needs: accepted, charged, ended, and its file can be fetched."""
    result = await client.result(model)
    status, media_type, content = await client.download(result["sample"])
    form = MODELS[model].default_format
    assert (status, media_type) == (200, f"{'video' if form == 'mp4' else 'image'}/{form}")
    size = client.last()
    if form == "mp4":
        assert content[4:8] == b"ftyp"
        content = content[content.index(b"\xff\xd8\xff") :]
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.size == (size["width"], size["height"])
    assert client.sandbox.statistics().credits_spent > 0


@pytest.mark.parametrize("model", list(MODELS))
async def test_a_surplus_field_is_ignored_or_refused_as_the_schema_says(client: Client, model: str) -> None:
    """The older endpoints swallow it, and it is kept as it was sent; the strict ones name it."""
    reply = await client.submit(model, typo="16:9")
    if model in STRICT:
        error = error_of(reply)
        assert (error["type"], error["msg"]) == ("extra_forbidden", "Extra inputs are not permitted")
        assert isinstance(error["loc"], list)
        assert error["loc"][-1] == "typo"
    else:
        assert reply.status == 200
        assert next(iter(client.sandbox.tasks.values())).body["typo"] == "16:9"


@pytest.mark.parametrize(
    ("model", "fields", "cost"),
    [
        ("flux-pro-1.1-ultra", {}, 6.0),
        ("flux-kontext-pro", {"input_image": SQUARE}, 4.0),
        ("flux-kontext-max", {}, 8.0),
        ("flux-pro-1.0-fill", {}, 5.0),
        ("flux-2-pro-preview", {"input_image": URL_OF_IMAGE}, 3.0 + 1.5),
        ("flux-2-max", {"width": 2048, "height": 1024}, 7.0 + 3.0),
        ("flux-2-max", {"input_image": SQUARE, "input_image_2": WIDE}, 7.0 + 1.125 * 3.0),
        ("flux-2-flex", {"width": 2048, "height": 2048}, 5.0 + 3 * 5.0),
        ("flux-2-klein-9b", {"width": 2048, "height": 1024}, 1.5 + 0.2),
        ("flux-2-klein-9b-finetuned", {}, 1.5),
        ("flux-3-image", {}, 4.8),
        ("flux-3-image", {"resolution": "768sq"}, 4.1),
        ("flux-3-image", {"resolution": "4k"}, 60.7),
        ("flux-3-image-klein", {}, 0.9),
        ("flux-3-image-klein", {"resolution": "2k"}, 1.4),
        ("flux-3-image-klein", {"resolution": "4k", "images": WIDE}, 3.6),
        ("flux-3-image-klein", {"width": 1024, "height": 1025}, 1.4),
        ("flux-3-video", {"duration": 5}, 5 * 17.0),
        ("flux-3-video", {"duration": 20, "resolution": "uhd"}, 20 * 80.0),
        ("flux-3-video", {"duration": 10, "resolution": "hd", "draft": True}, 10 * 6.0),
        ("flux-3-video", {"mode": "i2v", "keyframes": URL_OF_IMAGE, "duration": 6}, 6 * 17.0),
        ("flux-3-video", {"mode": "v2v", "start_video": URL_OF_VIDEO, "duration": 6}, 6 * 41.0),
        (
            "flux-3-video",
            {"mode": "v2v", "start_video": URL_OF_VIDEO, "duration": 6, "draft": True},
            6 * 12.0,
        ),
    ],
)
async def test_a_submit_tells_the_price(
    client: Client, model: str, fields: dict[str, Json], cost: float
) -> None:
    """The published one, charged at once; the last poll repeats none."""
    reply = await client.submit(model, **fields)
    assert reply.body["cost"] == pytest.approx(cost)
    assert client.sandbox.statistics().credits_spent == pytest.approx(cost)
    client.sandbox.settle(str(reply.body["id"]))
    assert "cost" not in await client.poll(reply.body["id"])


@pytest.mark.parametrize(
    ("model", "fields", "cost"),
    [
        ("flux-3-video", {}, 5 * 17.0),
        ("flux-3-video", {"duration": "auto", "resolution": "fhd"}, 5 * 29.0),
        ("flux-tools/video-edit-v1", {}, 5 * 3.0),
        # 17.58 MP-s at 10.5 and 39.55 MP-s at 7.5, in whole credits.
        ("flux-tools/video-upscale-v1", {}, 185.0),
        ("flux-tools/video-upscale-v1", {"creativity": 0, "upscale_factor": 3}, 297.0),
    ],
)
async def test_a_price_that_hangs_on_an_unknown_length_is_told_at_the_end(
    client: Client, model: str, fields: dict[str, Json], cost: float
) -> None:
    """null in the reply to the submit, settled in the last poll."""
    reply = await client.submit(model, **fields)
    assert [reply.body[name] for name in ("cost", "input_mp", "output_mp")] == [None] * 3
    assert "cost" not in await client.poll(reply.body["id"])
    client.sandbox.settle(str(reply.body["id"]))
    assert (await client.poll(reply.body["id"]))["cost"] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("model", "fields", "size"),
    [
        ("flux-pro-1.1-ultra", {}, (2736, 1536)),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "9:21"}, (1344, 3136)),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "21:9"}, (3136, 1344)),
        ("flux-kontext-pro", {}, (1024, 1024)),
        ("flux-kontext-pro", {"aspect_ratio": "3:7", "input_image": WIDE}, (672, 1568)),
        ("flux-kontext-max", {"aspect_ratio": "7:3"}, (1568, 672)),
        ("flux-pro-1.0-fill", {}, (512, 256)),
        ("flux-pro-1.0-expand", {"left": 8, "right": 16, "top": 32, "bottom": 64}, (536, 352)),
        ("flux-pro-1.0-canny", {}, (512, 256)),
        ("flux-2-pro", {"input_image": WIDE}, (512, 256)),
        ("flux-2-pro", {"input_image": WIDE, "width": 640}, (640, 256)),
        ("flux-2-pro", {"input_image": png_text(4096, 4096)}, (2048, 2048)),
        ("flux-2-pro", {"input_image": URL_OF_IMAGE}, (1024, 1024)),
        ("flux-2-pro", {"input_image_2": WIDE}, (1024, 1024)),
        ("flux-tools/outpainting-v1", {}, (640, 512)),
        ("flux-tools/erase-v1", {}, (512, 256)),
        ("flux-tools/deblur-v1", {"image": URL_OF_IMAGE}, (1024, 1024)),
        ("flux-tools/vto-v1", {"person": png_text(2048, 4096)}, (1024, 2048)),
        ("flux-tools/vto-v2", {"person": png_text(2048, 1024)}, (2048, 1024)),
        ("flux-3-image", {"aspect_ratio": "16:9"}, (1360, 768)),
        ("flux-3-image", {"resolution": "2k", "aspect_ratio": "1:2"}, (1456, 2896)),
        ("flux-3-image", {"images": [WIDE, SQUARE]}, (1456, 720)),
        ("flux-3-image", {"resolution": "768sq"}, (768, 768)),
        ("flux-3-image", {"images": WIDE}, (1456, 720)),
        ("flux-3-image-klein", {"width": 1001, "height": 777}, (1001, 777)),
        ("flux-3-image-klein", {"resolution": "768sq", "aspect_ratio": "1:1"}, (768, 768)),
        # The five that a digest of BFL's pages of 8 October 2026 names.
        ("flux-3-video", {}, (1280, 704)),
        ("flux-3-video", {"resolution": "fhd", "aspect_ratio": "16:9"}, (1920, 1088)),
        ("flux-3-video", {"resolution": "uhd", "aspect_ratio": "16:9"}, (3840, 2176)),
        ("flux-3-video", {"aspect_ratio": "21:9"}, (1440, 608)),
        ("flux-3-video", {"aspect_ratio": "4:3"}, (1088, 800)),
        ("flux-3-video", {"resolution": "fhd", "aspect_ratio": "9:16"}, (1088, 1920)),
        ("flux-3-video", {"resolution": "uhd", "aspect_ratio": "1:1"}, (2880, 2880)),
        ("flux-3-video", {"mode": "i2v", "keyframes": [[0, SQUARE], [2.5, WIDE]]}, (960, 960)),
        ("flux-tools/video-upscale-v1", {"upscale_factor": 1.5}, (1920, 1080)),
    ],
)
async def test_a_result_has_the_size_that_was_asked_for(
    client: Client, model: str, fields: dict[str, Json], size: tuple[int, int]
) -> None:
    """Width and height, a ratio, a resolution, or what the input has."""
    assert (await client.submit(model, **fields)).status == 200
    assert client.last() == {"width": size[0], "height": size[1]}


@pytest.mark.parametrize(
    ("model", "fields", "input_mp", "output_mp"),
    [
        ("flux-2-pro", {"input_image": WIDE, "input_image_3": SQUARE}, 1.12, 0.12),
        ("flux-2-pro", {"input_image": URL_OF_IMAGE, "input_image_2": URL_OF_IMAGE}, 2.0, 1.0),
        ("flux-2-pro", {"input_image": f"data:image/png;base64,{WIDE}"}, 0.12, 0.12),
        ("flux-pro-1.0-fill", {}, 0.12, 0.12),  # the mask is no input
        ("flux-tools/vto-v1", {}, 1.12, 0.12),
        ("flux-3-image", {"images": [SQUARE] * 10}, 10.0, 1.0),
        ("flux-pro-1.1", {"image_prompt": WIDE}, 0.12, 0.75),
    ],
)
async def test_a_submit_tells_the_megapixels(
    client: Client, model: str, fields: dict[str, Json], input_mp: float, output_mp: float
) -> None:
    """Of the images as they are, two decimals; one that is only named counts as one."""
    reply = await client.submit(model, **fields)
    assert [reply.body["input_mp"], reply.body["output_mp"]] == [input_mp, output_mp]


# ---- what is refused beyond the schema


@pytest.mark.parametrize(
    ("model", "fields", "place", "reason"),
    [
        ("flux-2-pro", {"input_image_2": BROKEN}, ["input_image_2"], "no PNG, JPEG or WebP"),
        ("flux-2-pro", {"input_image": ""}, ["input_image"], "no PNG, JPEG or WebP"),
        ("flux-2-pro", {"input_image": "a fox!"}, ["input_image"], "neither a URL nor base64"),
        ("flux-2-pro", {"input_image": png_text(5000, 4001)}, ["input_image"], "20 megapixels"),
        ("flux-2-pro", {"width": 2048, "height": 2049}, [], "4 megapixels"),
        ("flux-pro-1.1", {"image_prompt": BROKEN}, ["image_prompt"], "no PNG"),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "22:9"}, ["aspect_ratio"], "no ratio"),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "wide"}, ["aspect_ratio"], "no ratio"),
        ("flux-kontext-pro", {"aspect_ratio": "0:1"}, ["aspect_ratio"], "no ratio"),
        ("flux-kontext-pro", {"aspect_ratio": "2:7"}, ["aspect_ratio"], "no ratio"),
        ("flux-pro-1.0-fill", {"mask": SQUARE}, ["mask"], "differ in size"),
        ("flux-tools/erase-v1", {"mask": png_text(256, 512)}, ["mask"], "differ in size"),
        ("flux-tools/erase-v1", {"mask": BROKEN}, ["mask"], "no PNG"),
        ("flux-pro-1.0-expand", {"image": png_text(255, 900)}, ["image"], "less than 256 pixels"),
        ("flux-pro-1.0-canny", {"control_image": "left out"}, [], "is required"),
        ("flux-tools/outpainting-v1", {"width": 4096, "height": 4096}, [], "4 megapixels"),
        ("flux-tools/vto-v1", {"garment": BROKEN}, ["garment"], "no PNG"),
        ("flux-3-image", {"prompt": " \n"}, ["prompt"], "blank"),
        ("flux-3-image", {"images": [WIDE, png_text(256, 255)]}, ["images", 1], "less than 256 pixels"),
        ("flux-3-image", {"images": png_text(255, 300)}, ["images"], "less than 256 pixels"),
        ("flux-3-image-klein", {"images": [png_text(300, 255)]}, ["images", 0], "less than 256 pixels"),
        ("flux-3-image-klein", {"width": 4097, "height": 4096}, [], "exceeds 4k"),
        ("flux-3-video", {"mode": "i2v", "keyframes": [[1, BROKEN]]}, ["keyframes", 0, 1], "no PNG"),
        ("flux-3-video", {"mode": "v2v", "start_video": "fox"}, ["start_video"], "neither"),
        ("flux-3-video", {"draft": True, "resolution": "fhd"}, ["resolution"], "draft is hd"),
        ("flux-3-video", {"draft": True, "resolution": "uhd"}, ["resolution"], "draft is hd"),
        ("flux-tools/video-edit-v1", {"video": ""}, ["video"], "empty"),
        ("flux-2-klein-4b-finetuned", {"finetune_id": "nobody"}, ["finetune_id"], "no such finetune"),
    ],
)
async def test_what_cannot_be_made_is_refused(
    client: Client, model: str, fields: dict[str, Json], place: list[Json], reason: str
) -> None:
    """422 with the place and a reason; no task and no charge."""
    error = error_of(await client.submit(model, **fields))
    assert (error["type"], error["loc"]) == ("value_error", ["body", *place])
    assert reason in str(error["msg"])
    counts = client.sandbox.statistics()
    assert (counts.accepted, counts.credits_spent, counts.refused_422) == (0, 0.0, 1)


@pytest.mark.parametrize("model", ["flux-3-image", "flux-3-image-klein"])
@pytest.mark.parametrize("size", [(4097, 4096), (8192, 2049), (9000, 9000)])
async def test_an_image_beyond_16_megapixels_is_a_400_of_flux_3(
    client: Client, model: str, size: tuple[int, int]
) -> None:
    """Not a 422, with a text (a digest of BFL's pages of 8 October 2026); to the pixel, alone or in a list."""
    large = png_text(*size)
    for images in (large, [large], [WIDE, large]):
        reply = await client.submit(model, images=cast(Json, images))
        assert reply.status == 400
        assert isinstance(reply.body["detail"], str)
    assert client.sandbox.statistics().accepted == 0
    assert (await client.submit(model, images=png_text(4096, 4096))).status == 200


@pytest.mark.parametrize("model", ["flux-3-image", "flux-3-image-klein"])
async def test_flux_3_takes_what_any_of_its_sources_allows(client: Client, model: str) -> None:
    """One image as a text or in a list, as base64 or a data URL; a safety tolerance up to 7, and no further."""
    for images in (WIDE, [WIDE], f"data:image/png;base64,{WIDE}", [URL_OF_IMAGE, WIDE]):
        assert (await client.submit(model, images=cast(Json, images))).status == 200
    assert [(await client.submit(model, safety_tolerance=n)).status for n in (0, 5, 6, 7)] == [200] * 4
    for wrong in (-1, 8):
        assert error_of(await client.submit(model, safety_tolerance=wrong))["loc"] == [
            "body",
            "safety_tolerance",
        ]
    assert (await client.submit(model, images=[])).status == 422


async def test_flux_3_image_answers_with_png(client: Client) -> None:
    """By a digest of BFL's pages of 8 October 2026; it has no field for another format, and its klein has one."""
    sample = (await client.result("flux-3-image", resolution="768sq"))["sample"]
    assert URL(str(sample)).path.endswith(".png")
    status, media_type, content = await client.download(sample)
    assert (status, media_type, content[:4]) == (200, "image/png", b"\x89PNG")
    assert (await client.submit("flux-3-image", output_format="jpeg")).status == 422
    webp = (await client.result("flux-3-image-klein", width=300, height=200, output_format="webp"))["sample"]
    assert (await client.download(webp))[1] == "image/webp"


@pytest.mark.parametrize("resolution", ["hd", "fhd", "qhd", "uhd"])
async def test_sides_of_a_video_are_multiples_of_32(client: Client, resolution: str) -> None:
    """At every ratio, and turned when the ratio is; a draft made in full keeps the ratio it was asked for."""
    sizes = {}
    for ratio in ("21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"):
        assert (await client.submit("flux-3-video", resolution=resolution, aspect_ratio=ratio)).status == 200
        sizes[ratio] = tuple(client.last().values())
        assert [cast(int, side) % 32 for side in sizes[ratio]] == [0, 0]
        draft = await client.result("flux-3-video", aspect_ratio=ratio, draft=True)
        fields: dict[str, Json] = {"mode": "draft_enhance", "prompt": "left out", "resolution": resolution}
        enhanced = await client.submit("flux-3-video", draft_cache=draft["draft_cache"], **fields)
        assert enhanced.status == 200
        assert tuple(client.last().values()) == sizes[ratio]
        client.sandbox.settle(str(enhanced.body["id"]))
        for task in client.sandbox.tasks.values():
            if not task.ended:
                client.sandbox.settle(task.id)
    for ratio, size in sizes.items():
        turned = ":".join(reversed(ratio.split(":")))
        assert turned not in sizes or sizes[turned] == size[::-1]


async def test_a_mask_is_not_compared_with_an_image_that_is_only_named(client: Client) -> None:
    """Nothing is fetched, so that its size is not known."""
    for fields in ({"image": URL_OF_IMAGE}, {"mask": URL_OF_IMAGE}):
        assert (await client.submit("flux-tools/erase-v1", **cast(dict[str, Json], fields))).status == 200


# ---- traits of the families


RESULT_KEYS = {
    "flux-kontext-pro": ["sample", "prompt", "seed", "start_time", "end_time", "duration"],
    "flux-2-klein-9b": ["start_time", "prompt", "seed", "sample"],
    "flux-tools/erase-v1": ["start_time", "prompt", "seed", "sample"],
    "flux-3-image": ["sample", "prompt", "duration"],
    "flux-3-image-klein": ["sample", "prompt", "duration"],
    "flux-3-video": ["sample"],
    "flux-tools/video-edit-v1": ["sample"],
    "flux-tools/video-upscale-v1": ["sample", "duration", "prompt", "seed"],
}


@pytest.mark.parametrize("model", list(RESULT_KEYS))
async def test_a_result_has_its_familys_keys(client: Client, model: str) -> None:
    """All that is told, in its order."""
    assert list(await client.result(model)) == RESULT_KEYS[model]


@pytest.mark.parametrize(
    ("model", "fields", "is_rewritten"),
    [
        *((model, {}, True) for model in ("flux-2-pro", "flux-2-pro-preview", "flux-2-max", "flux-2-flex")),
        ("flux-3-image", {}, True),
        *((model, {"disable_pup": True}, False) for model in ("flux-2-pro", "flux-2-max")),
        ("flux-2-max", {"disable_pup": False}, True),
        ("flux-2-flex", {"prompt_upsampling": False}, False),
        ("flux-2-flex", {"prompt_upsampling": None}, True),
        ("flux-2-klein-4b", {}, False),
        ("flux-2-klein-9b", {"prompt_upsampling": True}, False),  # a field that it does not have
        *(("flux-pro-1.1", {"prompt_upsampling": wanted}, wanted) for wanted in (True, False)),
        *(("flux-kontext-pro", {"prompt_upsampling": wanted}, wanted) for wanted in (True, False)),
        ("flux-pro-1.0-fill", {"prompt_upsampling": "yes"}, True),
        *((model, {}, False) for model in ("flux-dev", "flux-pro-1.1-ultra", "flux-tools/vto-v2")),
    ],
)
async def test_a_result_tells_the_rewritten_prompt(
    client: Client, model: str, fields: dict[str, Json], is_rewritten: bool
) -> None:
    """Another prompt than the sent one where upsampling is on (recorded, December 2025), unless it is turned off."""
    told = (await client.result(model, **fields))["prompt"]
    assert isinstance(told, str)
    assert (told != "a fox") == is_rewritten
    assert "a fox" in told
    assert [task.prompt for task in client.sandbox.tasks.values()] == ["a fox"]
    client.sandbox.rewrite_prompts = False
    assert (await client.result(model, **fields))["prompt"] == "a fox"


@pytest.mark.parametrize(
    ("model", "ttl_s"),
    [
        ("flux-pro-1.1", 600),
        ("flux-tools/deblur-v1", 600),
        ("flux-3-image", 3600),
        ("flux-tools/video-edit-v1", 3600),
        ("flux-3-video", 7200),
    ],
)
async def test_a_results_url_is_good_for_its_models_time(client: Client, model: str, ttl_s: int) -> None:
    """`se` lies so many seconds after the end of the computing, in whole seconds."""
    before = time.time()
    sample = URL(str((await client.result(model))["sample"]))
    expiry = datetime.fromisoformat(sample.query["se"]).timestamp()
    assert before - 1.5 <= expiry - ttl_s <= time.time() + 0.5


async def test_a_video_passes_through_the_statuses_of_its_making(client: Client) -> None:
    """Pending, Reasoning, Generating, Ready; an image is Pending until it is Ready."""
    for model, expected in (
        ("flux-3-video", ["Pending", "Reasoning", "Generating", "Generating"]),
        ("flux-3-image", ["Pending"] * 4),
    ):
        reply = await client.submit(model)
        task = client.sandbox.tasks[str(reply.body["id"])]
        told = []
        for share in (0.0, 0.1, 0.2, 0.99):
            # The task is moved in time instead of waiting for it.
            task.computed_at = asyncio.get_running_loop().time() + 1000.0 * (1 - share)
            task.accepted_at = task.computed_at - 1000.0
            answer = await client.poll(task.id)
            assert answer["progress"] is None
            told.append(answer["status"])
        assert told == expected
        assert not task.ended
        client.sandbox.settle(task.id)
        assert (await client.poll(task.id))["status"] == "Ready"


async def test_upscaling_tells_its_progress_in_numbers_from_0_to_1(client: Client) -> None:
    """Captured in August 2026, as the duration of the processing in the result."""
    reply = await client.submit("flux-tools/video-upscale-v1")
    task = client.sandbox.tasks[str(reply.body["id"])]
    told = []
    for share in (0.0, 0.1, 0.455, 0.999):
        # The task is moved in time instead of waiting for it.
        task.computed_at = asyncio.get_running_loop().time() + 1000.0 * (1 - share)
        task.accepted_at = task.computed_at - 1000.0
        told.append((await client.poll(task.id))["progress"])
    assert told == [None, 0.1, 0.45, 0.99]
    client.sandbox.settle(task.id)
    ready = await client.poll(task.id)
    assert ready["progress"] is None
    assert isinstance(ready["result"], dict)
    assert (ready["result"]["prompt"], ready["result"]["seed"]) == ("a fox", task.seed)
    assert ready["result"]["duration"] == pytest.approx(task.computed_at - task.accepted_at)


@pytest.mark.parametrize(("factor", "creativity"), [(n / 10, c) for n in range(15, 31, 3) for c in (0, 1)])
async def test_upscaling_costs_whole_credits(client: Client, factor: float, creativity: int) -> None:
    """Rounded up from 7.5 and 10.5 a megapixel and second: 9.75 of them cost 74 (captured, August 2026)."""
    reply = await client.submit("flux-tools/video-upscale-v1", upscale_factor=factor, creativity=creativity)
    client.sandbox.settle(str(reply.body["id"]))
    cost = (await client.poll(reply.body["id"]))["cost"]
    assert isinstance(cost, float)
    size = client.last()
    megapixel_seconds = 5 * cast(int, size["width"]) * cast(int, size["height"]) / 2**20
    assert cost == math.ceil(megapixel_seconds * (10.5 if creativity else 7.5))


def test_the_captured_upscale_costs_what_was_billed() -> None:
    """9.75 MP-s, precise: 74 credits."""
    order = Order("", 1024, 1024, "mp4", seconds=9.75, tier="precise")
    assert MODELS["flux-tools/video-upscale-v1"].cost(order) == 74.0


async def test_models_share_the_pool_of_video(client: Client) -> None:
    """Five tasks of all kinds of video, six of flux-kontext-max; other models go on."""
    videos = ["flux-3-video", "flux-tools/video-edit-v1", "flux-tools/video-upscale-v1"]
    ids = [(await client.submit(videos[n % 3])).body["id"] for n in range(5)]
    assert [(await client.submit(model)).status for model in videos] == [429] * 3
    for _ in range(6):
        assert (await client.submit("flux-kontext-max")).status == 200
    assert (await client.submit("flux-kontext-max")).status == 429
    assert (await client.submit("flux-kontext-pro")).status == 200
    client.sandbox.settle(str(ids[1]))
    assert (await client.submit("flux-3-video")).status == 200


# ---- drafts


async def test_a_draft_becomes_a_video_in_full(client: Client) -> None:
    """Its form, prompt and length are the draft's; it is larger, dearer, and has no draft of its own."""
    draft = await client.result(
        "flux-3-video", prompt="a red fox", draft=True, aspect_ratio="1:1", duration=7
    )
    assert list(draft) == ["sample", "draft_cache"]
    assert (await client.download(draft["draft_cache"]))[:2] == (200, "application/octet-stream")
    enhance: dict[str, Json] = {
        "mode": "draft-enhance",
        "prompt": "left out",
        "draft_cache": draft["draft_cache"],
    }
    reply = await client.submit("flux-3-video", **enhance)
    assert reply.body["cost"] == pytest.approx(7 * 29.0)
    assert client.last() == {"width": 1440, "height": 1440}
    assert client.sandbox.tasks[str(reply.body["id"])].prompt == "a red fox"
    assert list(await client.result("flux-3-video", **enhance)) == ["sample"]


async def test_only_a_draft_of_this_sandbox_can_be_enhanced(client: Client) -> None:
    """Not the video beside it, not one that was tampered with, not one made up, not one that expired."""
    draft = await client.result("flux-3-video", draft=True)
    cache = str(draft["draft_cache"])
    plain = await client.result("flux-3-video")
    for wrong in (
        draft["sample"],
        plain["sample"],
        cache.replace("sig=", "sig=a"),
        cache.split("?")[0],
        f"https://example.org/results/{next(iter(client.sandbox.tasks))}/draft_cache.bin",
        "http://[",
        "",
        "\ud800",
    ):
        error = error_of(
            await client.submit("flux-3-video", mode="draft_enhance", prompt="left out", draft_cache=wrong)
        )
        assert error["loc"] == ["body", "draft_cache"]
    client.sandbox.result_ttl_s = -10.0
    client.sandbox.settle(str((await client.submit("flux-3-video", draft=True)).body["id"]))
    task_id = [*client.sandbox.tasks][-1]
    late = cast(dict[str, Json], (await client.poll(task_id))["result"])["draft_cache"]
    error_of(await client.submit("flux-3-video", mode="draft_enhance", prompt="left out", draft_cache=late))


# ---- calls that make no task


UTILITIES = [
    ("GET", "/v1/my_finetunes", None),
    ("GET", "/v1/finetune_details?finetune_id=sandbox-fox", None),
    ("POST", "/v1/delete_finetune", {"finetune_id": "sandbox-fox"}),
    ("POST", "/v1/licenses/models/flux-1-dev/usage", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), UTILITIES)
async def test_utilities_need_the_key(client: Client, method: str, path: str, body: Json) -> None:
    """403 in the same words as a submit, and nothing is done."""
    for key, words in ((None, "Not authenticated"), ("other", "Not authenticated - Invalid Authentication")):
        reply = await client.call(method, path, key=key, body=body)
        assert (reply.status, reply.body) == (403, {"detail": words})
    assert len(client.sandbox.utilities.finetunes) == 2
    assert not client.sandbox.utilities.usage


async def test_finetunes_are_listed_told_and_deleted(client: Client) -> None:
    """A deleted one is gone from everywhere, and can be used no more."""
    key = client.sandbox.key
    listed = (await client.call("GET", "/v1/my_finetunes", key=key)).body
    assert listed == {"finetunes": ["sandbox-fox", "sandbox-ink"]}
    details = await client.call("GET", "/v1/finetune_details?finetune_id=sandbox-fox", key=key)
    assert details.status == 200
    assert cast(dict[str, Json], details.body["finetune_details"])["trigger_word"] == "FOX"
    assert (await client.submit("flux-2-klein-4b-finetuned", finetune_id="sandbox-fox")).status == 200

    body: Json = {"finetune_id": "sandbox-fox"}
    deleted = await client.call("POST", "/v1/delete_finetune", key=key, body=body)
    assert (deleted.status, deleted.body["deleted_finetune_id"]) == (200, "sandbox-fox")
    assert list(deleted.body) == ["status", "message", "deleted_finetune_id", "timestamp"]
    assert datetime.fromisoformat(str(deleted.body["timestamp"])).tzinfo is not None
    assert (await client.call("GET", "/v1/my_finetunes", key=key)).body == {"finetunes": ["sandbox-ink"]}
    gone = await client.call("GET", "/v1/finetune_details?finetune_id=sandbox-fox", key=key)
    again = await client.call("POST", "/v1/delete_finetune", key=key, body=body)
    assert gone == again == Reply(404, {"detail": "Finetune not found"})
    error_of(await client.submit("flux-2-klein-4b-finetuned", finetune_id="sandbox-fox"))


async def test_usage_of_a_licensed_model_is_reported(client: Client) -> None:
    """One generation unless another number above zero is told; other models are refused."""
    key, utilities = client.sandbox.key, client.sandbox.utilities
    recorded = Reply(200, {"message": "Usage recorded successfully"})
    path = "/v1/licenses/models/flux-1-dev/usage"
    assert await client.call("POST", path, key=key, body={}) == recorded
    assert await client.call("POST", path, key=key, body={"number_of_generations": 41}) == recorded
    assert dict(utilities.usage) == {"flux-1-dev": 42}

    error = error_of(await client.call("POST", path, key=key, body={"number_of_generations": 0}))
    assert error["type"] == "greater_than"
    other = await client.call("POST", "/v1/licenses/models/flux-9/usage", key=key, body={})
    assert other == Reply(400, {"detail": "Model slug flux-9 is not supported for usage reporting"})
    utilities.licensed.clear()
    refused = await client.call("POST", path, key=key, body={})
    assert (refused.status, dict(utilities.usage)) == (403, {"flux-1-dev": 42})
    assert str(refused.body["detail"]).startswith("You have not licensed this model.")


async def test_utilities_name_what_is_missing(client: Client) -> None:
    """422 with the place."""
    key = client.sandbox.key
    for method, path, body, place in (
        ("GET", "/v1/finetune_details", None, ["query", "finetune_id"]),
        ("POST", "/v1/delete_finetune", {}, ["body", "finetune_id"]),
        ("POST", "/v1/delete_finetune", None, ["body"]),
    ):
        error = error_of(await client.call(method, path, key=key, body=cast(Json, body)))
        assert (error["type"], error["loc"]) == ("missing", place)


def test_the_tests_images_are_what_they_say() -> None:
    """Another decoder opens them."""
    with Image.open(io.BytesIO(png(300, 7))) as image:
        image.load()
        assert image.size == (300, 7)
    assert base64.b64decode(WIDE) == png(512, 256)
