"""Answers to a submit that hold the result itself: which are read, what is kept of them, and their bounds."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import pytest

from bfl_async.types import Accepted, Answered, Reply, SubmitAnswer, Unknown
from bfl_async.types.held import HeldImage, is_own_id
from bfl_async.types.replies import Immediate
from bfl_async.wire.immediate import decode_base64, may_hold_image
from bfl_async.wire.submit_verdicts import judge_submit
from tests.fake import JPEG, reply

TEXT = base64.b64encode(JPEG).decode()
URL = "https://images.example/a.png?sig=s"
OTHER_URL = "https://images.example/b.png?sig=s"


def judged(body: object, *, any_endpoint: bool = False) -> SubmitAnswer:
    return judge_submit(reply(200, body), model="flux-2-pro", now=0.0, any_endpoint=any_endpoint)


def images_of(answer: SubmitAnswer) -> list[bytes | str]:
    assert isinstance(answer, Immediate), answer
    return [image.data if isinstance(image, HeldImage) else image for image in answer.images]


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ({"created": 1, "data": [{"b64_json": TEXT}]}, [JPEG]),
        ({"data": [{"b64_json": TEXT, "url": None}]}, [JPEG]),
        ({"data": [{"b64_json": TEXT}, {"b64_json": TEXT}, {"url": URL}]}, [JPEG, JPEG, URL]),
        ({"data": [{"b64_json": None}, {"b64_json": TEXT}]}, [JPEG]),
        ({"data": [{"url": URL}, {"url": OTHER_URL}]}, [URL, OTHER_URL]),
        ({"data": {"b64_json": TEXT}}, [JPEG]),
        ({"id": "img-1", "data": [{"b64_json": TEXT}]}, [JPEG]),
        ({"id": "img-1", "created": 1, "data": [{"url": URL}]}, [URL]),
        ({"status": "Ready", "result": {"sample": URL}}, [URL]),
        ({"status": "Ready", "result": {"sample": URL, "samples": [URL, OTHER_URL]}}, [URL, OTHER_URL]),
        ({"status": "succeeded", "result": {"sample": TEXT}}, [JPEG]),
        ({"result": {"sample": f"data:image/jpeg;base64,{TEXT}"}}, [JPEG]),
        ({"result": URL}, [URL]),
        ({"output": [URL, OTHER_URL]}, [URL, OTHER_URL]),
        ({"images": [{"url": URL}]}, [URL]),
        ({"images": [TEXT, TEXT]}, [JPEG, JPEG]),
        ({"image": TEXT}, [JPEG]),
        ({"code": 0, "data": {"status": "SUCCESS", "result": {"sample": URL}}}, [URL]),
        ({"data": {"images": [{"url": URL}, {"url": OTHER_URL}]}}, [URL, OTHER_URL]),
        ({"data": [{"id": "one", "url": URL}]}, [URL]),
        ({"state": "Ready", "result": {"samples": [URL]}}, [URL]),
        ({"b64_json": TEXT, "error": None}, [JPEG]),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_answer_that_holds_the_result_is_one(body: dict[str, Any], images: list[bytes | str]) -> None:
    """In the shapes of Azure AI Foundry, of the OpenAI images format, and of BFL's own polls."""
    answer = judged(body)
    assert images_of(answer) == images
    assert isinstance(answer, Immediate)
    assert is_own_id(answer.task_id)
    # Neither what is kept nor what is shown has the image.
    for shown in (repr(answer), repr(answer.images), json.dumps(answer.poll.raw), answer.reply.body.decode()):
        assert TEXT[:60] not in shown
    assert json.loads(answer.reply.body) == answer.poll.raw


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": [{"b64_json": ""}]},
        {"data": [{"b64_json": "!" * 80}]},
        {"data": [{"b64_json": None, "url": None}]},
        {"data": [{"url": "ftp://images.example/a"}]},
        {"data": [{"url": 3}]},
        {"error": {"code": "content_filter"}, "data": [{"b64_json": TEXT}]},
        {"status": "Pending", "data": [{"url": URL}]},
        {"status": "processing", "result": URL},
        {"status": "Error", "result": {"sample": URL}},
        {"message": "see the documentation", "url": URL},
        {"image": "a text that is no image"},
        {"result": None},
        {"data": {"status": "Pending", "result": {"sample": URL}}},
        {"data": {"task_id": "t", "url": URL}},
        {"state": "Pending", "data": [{"url": URL}]},
        {"success": False, "data": [{"url": URL}]},
        {"data": [{"error": "moderated", "url": URL}]},
        "<html>login</html>",
        [{"b64_json": TEXT}],
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_answer_without_a_result_stays_unknown(body: object) -> None:
    """A URL may be that of a status page or of documentation, and an error is no result."""
    assert isinstance(judged(body), Unknown)


def test_task_is_followed_whatever_else_its_receipt_holds() -> None:
    """The polling URL says that a task exists, which has a slot."""
    body = {"id": "t", "polling_url": "https://api.bfl.ai/x", "data": [{"b64_json": TEXT}]}
    assert isinstance(judged(body), Accepted)
    assert isinstance(judged({"id": "t", "status": "Pending", "image": URL}), Accepted)
    assert isinstance(judged({"id": "t", "image": URL}), Accepted)


def test_body_of_a_poll_keeps_the_id_of_its_task() -> None:
    """Such a task can be asked for again, and attached."""
    answer = judged({"id": "t", "status": "Ready", "result": {"sample": URL, "seed": 3}, "cost": 4})
    assert isinstance(answer, Immediate)
    assert (answer.task_id, answer.poll.cost, answer.poll.result) == ("t", 4.0, {"sample": URL, "seed": 3})


def test_ids_of_our_own_cannot_be_the_servers() -> None:
    """Else a server could name a task that no one can attach."""
    claimed = "immediate-" + "0" * 32
    answer = judged({"id": claimed, "polling_url": "https://api.bfl.ai/x"})
    assert isinstance(answer, Accepted)
    assert answer.receipt.task_id != claimed
    assert not is_own_id(answer.receipt.task_id)


def test_post_returns_such_an_answer_as_it_came() -> None:
    """It is for endpoints that are not known here."""
    answer = judged({"data": [{"b64_json": TEXT}]}, any_endpoint=True)
    assert isinstance(answer, Answered)
    assert TEXT.encode() in answer.reply.body


BIG = JPEG[:-2] + bytes(range(256)) * 8_000 + JPEG[-2:]
BIG_TEXT = base64.b64encode(BIG).decode()


@pytest.mark.parametrize(
    "text",
    [
        BIG_TEXT,
        BIG_TEXT.replace("/", r"\/"),
        BIG_TEXT.replace("+", r"\u002B"),
        BIG_TEXT.replace("+", "-").replace("/", "_").rstrip("="),
        r"\r\n".join(BIG_TEXT[at : at + 76] for at in range(0, len(BIG_TEXT), 76)),
        f"data:image/jpeg;base64,{BIG_TEXT}",
    ],
    ids=["plain", "PHP", ".NET", "of URLs", "lines", "data URL"],
)
def test_large_image_is_read_however_it_is_escaped(text: str) -> None:
    """Hosts write JSON and base64 in several ways."""
    raw = f'{{"a": "b\\"c\\\\", "data": [{{"revised_prompt": "a \\"cat\\"", "b64_json": "{text}"}}]}}'
    answer = judged(raw)
    assert images_of(answer) == [BIG]
    assert isinstance(answer, Immediate)
    assert answer.poll.result is not None
    assert answer.poll.result["prompt"] == 'a "cat"'
    assert len(answer.reply.body) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        BIG_TEXT.rstrip("=")[:-3],
        BIG_TEXT[:2_000] + "=" + BIG_TEXT,
        BIG_TEXT[:9_000] + "é" + BIG_TEXT,
        BIG_TEXT + r"\\",
    ],
    ids=["cut off", "padding within", "another character", "a backslash"],
)
def test_damaged_base64_is_no_image(text: str) -> None:
    """Half of an image must not pass for one."""
    answer = judged(f'{{"data": [{{"b64_json": "{text}"}}]}}')
    assert isinstance(answer, Unknown) or images_of(answer) != [BIG]


def test_note_of_the_server_leads_nowhere() -> None:
    """What stands in the place of base64 may be written by a server as well."""
    note = "(base64 no. 7, 12 characters, taken out)"
    assert isinstance(judged({"data": [{"b64_json": note}]}), Unknown)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [' + b"[]," * 500_000,
        b'{"a": "' + b"\\" * 3_000_000 + b'"}',
        b'{"a": "' + b'\\"' * 1_500_000 + b'"}',
        b'{"a": "' + b"x" * 3_000_000,
        b'"' * 3_000_000,
        b'{"a": ' + b'"b",' * 700_000 + b"}",
    ],
    ids=["lists", "backslashes", "escaped quotes", "no end", "quotes", "texts"],
)
def test_hostile_answer_is_given_up_soon(body: bytes) -> None:
    """An answer of megabytes is looked through once."""
    began = time.perf_counter()
    assert isinstance(judged(body), Unknown)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ('{"data": [{"b64_json": "' + TEXT, True),
        ('{"images": ["data:image/jpeg;base64,' + TEXT, True),
        ('{"prompt": "' + "a" * 200 + '", "b64_json": "' + TEXT.replace("/", "\\/"), True),
        ('{"b64_json": "' + TEXT.replace("/", "\\u002F"), True),
        ('{"status": "' + "a" * 200, False),
        ('{"b64_json": "' + TEXT[:60], False),
        ("", False),
    ],
)
def test_only_base64_of_an_image_lets_an_answer_be_larger(beginning: str, expected: bool) -> None:
    """Any other long text is read as far as that of every other reply."""
    assert may_hold_image(beginning.encode()) is expected


def test_image_beyond_the_bound_is_refused() -> None:
    """As much as a download may have, and not a byte more."""
    text = base64.b64encode(bytes(3 * 2**20))
    whole = text * 22
    assert decode_base64(memoryview(text)) == bytes(3 * 2**20)
    assert decode_base64(memoryview(whole)) is None


def test_large_answer_does_not_hold_the_interpreter() -> None:
    """It is judged in a thread, and the loop has its turn meanwhile."""
    raw = reply(200, f'{{"data": [{{"b64_json": "{BIG_TEXT * 8}"}}]}}'.replace("=", "A"))
    gaps: list[float] = []
    answers: list[SubmitAnswer] = []

    def judge() -> None:
        answers.append(judge_submit(Reply(200, {}, raw.body), model="m", now=0.0))

    thread = threading.Thread(target=judge)
    thread.start()
    last = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.0005)
        gaps.append((now := time.perf_counter()) - last)
        last = now
    thread.join()
    assert isinstance(answers[0], Immediate)
    # One piece holds it for some milliseconds; all of it at once would take ten times as long.
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.05


def test_text_that_is_named_often_is_decoded_once() -> None:
    """Else an answer of some MB would take gigabytes."""
    note = f"(base64 no. 0, {len(BIG_TEXT)} characters, taken out)"
    answer = judged({"data": [{"b64_json": BIG_TEXT}, *([{"b64_json": note}] * 15)]})
    assert images_of(answer) == [BIG]
