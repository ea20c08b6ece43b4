"""Writes one of every value that users may have pickled, as the release that runs it pickles them.

    cd OTHER_TREE && PYTHONPATH=. python THIS_TREE/tests/unit/pickles/write.py NAME

writes `NAME.json` beside this script: by name, the pickle in base64 and the facts that the value had. A file is written
once and then kept: `test_old_pickles.py` loads them all. `575a6ae.json` is named after its commit, of release 0.1.0.
It uses names that are public in every release, so that it runs in the trees of old ones.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import inspect
import json
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import bfl_async
from bfl_async import errors, events, sync, types
from bfl_async.catalog import CATALOG, FieldInfo, describe
from bfl_async.errors import BFLError
from bfl_async.models import ImageRequest, request_classes
from bfl_async.webhooks.receiver import WebhookStatistics

URL = "https://delivery.bfl.ai/a.png?sig=s"
RAW = {"id": "t", "status": "Ready", "result": {"sample": URL, "seed": 2**40}, "new": [1, None]}
PARTS = {"result": RAW["result"], "details": {"a": 1}, "cost": 4.0, "raw": RAW}
POOLS = {"account": types.PoolStatistics(limit=12, working=11, taken=4, queued=1)}
ERROR_FACTS: dict[str, object] = {
    "task_id": "t", "stage": "request", "reasons": ("Violence",), "state": "queued", "status": "Error",
    "status_code": 422, "body": "b", "errors": (("width", "no"),), "errno": 28, "filename": "f",
    "tasks": (errors.TaskRecord(task_id="t", polling_url=URL, model="flux-dev", cost=4.0),),
    "polling_url": URL, "retry_after_s": 2.0, "details": {"a": [1]},
}  # fmt: skip


def facts(value: object, names: Sequence[str] | None = None) -> object:
    """Return a value as JSON has it; of an object, the given attributes, or all that its class names."""
    if isinstance(value, enum.Enum):
        return {"class": type(value).__name__, "value": value.value}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(name): facts(each) for name, each in value.items()}
    if names is None:
        names = names_of(value)
    if not names and isinstance(value, Sequence):
        return [facts(each) for each in value]
    return {"class": type(value).__name__} | {name: facts(getattr(value, name)) for name in names}


def names_of(value: object) -> list[str]:
    """Return the public attributes that a value of this package has, none for other objects."""
    if isinstance(value, BFLError):
        return ["args", *(["errno", "filename"] if isinstance(value, OSError) else ()), *vars(value)]
    if isinstance(value, ImageRequest):
        return ["model", *sorted(value.model_fields_set)]
    if dataclasses.is_dataclass(value):
        names = [each.name for each in dataclasses.fields(value)]
    else:
        names = list(getattr(value, "_fields", ()))
    return [name for name in names if not name.startswith("_")]


def make(cls: Callable[..., object], **given: object) -> object:
    """Return an instance, made by a class as the release that runs this has it."""
    return cls(**given)


def error_values() -> dict[str, object]:
    """Return one of each class of errors."""
    made: dict[str, object] = {}
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, BFLError):
            wanted = inspect.signature(cls.__init__).parameters
            given = {fact: value for fact, value in ERROR_FACTS.items() if fact in wanted}
            made[name] = make(lambda cls=cls, **given: cls("what happened", **given), **given)
    return made


def _field_value(field: FieldInfo) -> object:
    if field.name == "mode":
        return field.mode
    match field.type.partition(" ")[0]:
        case "MediaSource":
            return "https://example.com/a.png"
        case "Keyframes":
            return [(0, "https://example.com/a.png"), (4.5, "https://example.com/b.png")]
        case "int":
            return 640
    return "a cat" if field.name == "prompt" else "id"


def request_values() -> dict[str, object]:
    """Return one request of each class of each model, and one of a model that this release does not know."""
    made: dict[str, object] = {}
    for model in CATALOG:
        fields = [each for each in describe(model) if each.required or each.name in ("seed", "control_image")]
        modes = list(dict.fromkeys(each.mode for each in describe(model)))
        for mode, cls in zip(modes, request_classes(model), strict=True):
            given = {each.name: _field_value(each) for each in fields if each.mode == mode}
            made[cls.__name__] = bfl_async.request(model, **given)
    made["PassThroughRequest"] = bfl_async.request("flux-new", prompt="a cat", **{"count": [1]})
    return made


def type_values() -> dict[str, object]:
    """Return one of each value of `bfl_async.types`."""
    error = bfl_async.TaskFailedError("it failed", task_id="t", status="Error", details={"a": [1]})
    poll = make(types.PollReply, status=bfl_async.TaskStatus.READY, progress=1.0, **PARTS)
    receipt = make(types.Receipt, task_id="t", polling_url=URL, cost=4.0)
    reply = make(types.Reply, status_code=200, headers={"x-a": "b"}, body=b"{}")
    request = bfl_async.FluxDev(prompt="a cat")
    return {
        "State": types.State.SUBMITTED,
        "Update": make(
            types.Update, state=types.State.SUBMITTED, status="Reasoning", progress=0.5, task_id="t"
        ),
        "Outcome": make(types.Outcome, index=3, request=request, task_id="t", result=None, error=error),
        "Estimate": make(types.Estimate, credits=4.0, usd=0.04, known=True, basis="a price"),
        "PoolStatistics": POOLS["account"],
        "LatencyStatistics": make(types.LatencyStatistics, count=1, p50=2.0, p90=3.0, p99=4.0),
        "Statistics": make(
            types.Statistics, queued=1, submitting=2, active=3, slots_taken=4, pools=POOLS, submitted=5, ready=6,
            moderated=7, failed=8, ambiguous=9, withdrawn=10, polls=11, refused_429=12, credits_spent=13.5,
            latency={"flux-dev": make(types.LatencyStatistics, count=1, p50=2.0, p90=3.0, p99=4.0)},
            refused_overlap=14, budget_left_usd=15.5,
        ),
        "Reply": reply,
        "Receipt": receipt,
        "PollReply": poll,
        "Accepted": make(types.Accepted, receipt=receipt),
        "Refused": make(types.Refused, error=error),
        "Busy": make(types.Busy, error=error, retry_after_s=5.0, no_slot=True),
        "NotSent": make(types.NotSent, error=error),
        "Unknown": make(types.Unknown, error=error),
        "Answered": make(types.Answered, reply=reply),
        "Delivery": make(
            types.Delivery, task_id="t", status="Ready", scheme="signature", progress=1.0, nonce="n", **PARTS
        ),
        "Ready": make(types.Ready, reply=poll),
        "Moderated": make(types.Moderated, error=error),
        "Failed": make(types.Failed, error=error),
        "Lost": make(types.Lost, error=error),
        "Unsent": make(types.Unsent, error=error, withdrawn=True),
        "EntryState": types.EntryState.AMBIGUOUS,
        "NewEntry": make(types.NewEntry, key="k", model="flux-dev", fields="{}", name="n"),
        "LedgerEntry": make(
            types.LedgerEntry, id=1, key="k", state=types.EntryState.READY, model="flux-dev", fields={"seed": 7},
            name="n", task_id="t", polling_url=URL, cost=4.0, file="a.jpg", result={"sample": URL}, error="e",
        ),
    }  # fmt: skip


def event_values() -> dict[str, object]:
    """Return one of each event."""
    error = bfl_async.TaskFailedError("it failed", task_id="t", status="Error", details={"a": [1]})
    all_have: dict[str, object] = {"at": 1.5, "request_id": 9, "model": "flux-dev", "task_id": "t"}
    own: dict[str, dict[str, object]] = {
        "Queued": {"priority": 1, "pools": ("account",), "prompt": "a cat"},
        "Submitting": {"attempt": 1, "waited_s": 0.5, "pools": POOLS},
        "Submitted": {"attempt": 1, "took_s": 0.5, "cost": 4.0, "attached": False},
        "Polled": {"number": 2, "took_s": 0.1, "status": "Pending", "progress": 0.5, "error": None},
        "Refused": {"attempt": 1, "took_s": 0.1, "status_code": 402, "retry_after_s": 2.0, "error": error},
        "Retried": {"attempt": 1, "error": error, "wait_s": 2.0, "pools": POOLS},
        "Settled": {
            "end": "ready", "status": bfl_async.TaskStatus.READY, "error": None, "cost": 4.0, "attempts": 1,
            "polls": 3, "total_s": 9.5, "followed_s": 8.5, "lag_s": 0.1, "delivered": True, "attached": False,
            "pools": POOLS,
        },
        "Downloaded": {
            "attempts": 1, "took_s": 0.5, "size_bytes": 5, "media_type": "image/jpeg", "error": None,
        },
    }  # fmt: skip
    return {f"events.{name}": make(getattr(events, name), **all_have, **given) for name, given in own.items()}


def other_values() -> dict[str, object]:
    """Return the other public values: results, outcomes of a batch, settings, rows of the catalog."""
    error = bfl_async.TaskFailedError("it failed", task_id="t", status="Error", details={"a": [1]})
    request = bfl_async.FluxDev(prompt="a cat")
    result_facts: dict[str, object] = {
        "task_id": "t", "model": "flux-dev", "url": URL, "seed": 2**40, "prompt": "a cat", "cost": 4.0,
        "expires_at": 1.5, "duration": 2.0, "raw": RAW, "polling_url": URL, "draft_cache": "d",
        "reply": types.Reply(200, {"x-a": "b"}, b"{}"),
    }  # fmt: skip
    result = make(bfl_async.Result, **result_facts)
    finished: dict[str, object] = {"request": request, "task_id": "t", "result": result, "error": None}
    failed: dict[str, object] = {"request": request, "task_id": "t", "result": None, "error": error}
    entry: dict[str, object] = {"index": 0, "key": "k", "name": "n"}
    return {
        "TaskStatus": bfl_async.TaskStatus.READY,
        "Result": result,
        "Outcome of a result": make(types.Outcome, index=0, **finished),
        "BatchOutcome": make(
            bfl_async.BatchOutcome, state=types.EntryState.SAVED, file=Path("a.jpg"), **entry, **finished
        ),
        "BatchOutcome of an error": make(
            bfl_async.BatchOutcome, state=types.EntryState.FAILED, file=None, **entry, **failed
        ),
        "sync.Result": make(sync.Result, **result_facts),
        "sync.Outcome": make(sync.Outcome, index=0, **failed),
        "Budget": make(bfl_async.Budget, usd=5.0),
        "Limits": make(bfl_async.Limits, account=3, queue=4),
        "Timeouts": make(bfl_async.Timeouts, task=60.0),
        "FieldInfo": describe("flux-dev")[0],
        "ModelInfo": CATALOG["flux-dev"],
        "WebhookStatistics": make(
            WebhookStatistics, delivered=1, unmatched=2, duplicates=3, rejected=4, missed=5
        ),
    }


def values() -> dict[str, object]:
    """Return the values by name."""
    return error_values() | request_values() | type_values() | event_values() | other_values()


def main(name: str) -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    lines = [
        json.dumps(each) + ": " + json.dumps({
            "facts": facts(value), "pickle": base64.b64encode(pickle.dumps(value)).decode()
        })
        for each, value in values().items()
    ]  # fmt: skip
    Path(__file__).with_name(f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
