"""Fault dials: what goes wrong, how often, and when.

A dial belongs to a moment. Whenever the sandbox comes to one, it asks the dials of that moment in the order of
`DIALS`; the first that fires takes the place of the true answer. A fault *before* acceptance leaves no task
and charges nothing; one *after* it has done both.
"""

import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

Moment = Literal[
    "submit before", "submit after", "poll", "poll in flight", "image", "receipt", "result", "webhook"
]
Setting = float | Iterable[bool]

# By the API's own words (JSON) no task exists, so after acceptance only a gateway may speak.
_SUBMIT = {
    "reset": "the connection is reset",
    "500": "500 and a gateway's HTML",
    "502": "502 and a gateway's HTML",
    "503": "503 and a gateway's HTML",
    "504": "504 and a gateway's HTML",
    "hang": "no answer until the client leaves",
    "html": "200 and a gateway's HTML",
    "truncated": "a receipt that is cut off, then a reset",
    "no-id": "200 and JSON without an id",
}
_SUBMIT_BEFORE = {
    **_SUBMIT,
    "500": "500 in the API's JSON",
    "503": "503 in the API's JSON, with Retry-After",
}
_POLL = {
    "reset": "the connection is reset",
    "500": "500 in the API's JSON",
    "502": "502 and a gateway's HTML",
    "503": "503 and a gateway's HTML",
    "504": "504 and a gateway's HTML",
    "429": "429 although there were few polls",
    "hang": "no answer until the client leaves",
    "html": "200 and a gateway's HTML",
    "truncated": "a status that is cut off, then a reset",
    "not-found": "404 and Task not found, though the task lives",
    "403": "403 in the API's JSON",
    "no-status": "200 and JSON without a status",
    "state": "the status in a field named state",
    "body-422": "the true status under 422",
    "body-503": "the true status under 503",
    "redirect-self": "302 to the same URL",
    "redirect-foreign": "302 to the foreign host",
}
_IMAGE = {
    "500": "500 in the image host's XML",
    "reset": "the connection is reset",
    "truncated": "the image is cut off, then a reset",
    "type": "200 and HTML under image/jpeg",
    "expired": "403 in the image host's XML, as of an expired URL",
    "slow": "the bytes trickle, over one second at speed 1",
    "larger": "more bytes than announced, then the connection is closed",
    "redirect-foreign": "302 to the foreign host",
}
_WEBHOOK = {
    "lost": "no delivery of the task is sent",
    "doubled": "the delivery is sent twice",
    "late": "the delivery is sent later by `webhook_late_s`",
    "forged": "deliveries that are not genuine come before the true one",
}
_MOMENTS: dict[str, Moment] = {
    **{f"submit-{kind}-before": "submit before" for kind in _SUBMIT},
    **{f"submit-{kind}-after": "submit after" for kind in _SUBMIT},
    "submit-429": "submit before",
    "foreign-polling-url": "receipt",
    **{f"poll-{kind}": "poll" for kind in _POLL},
    "poll-unknown-status": "poll in flight",
    "foreign-sample": "result",
    **{f"image-{kind}": "image" for kind in _IMAGE},
    **{f"webhook-{kind}": "webhook" for kind in _WEBHOOK},
}
DIALS: Mapping[str, str] = MappingProxyType(
    {
        **{f"submit-{kind}-before": f"no task: {text}" for kind, text in _SUBMIT_BEFORE.items()},
        **{f"submit-{kind}-after": f"a task exists: {text}" for kind, text in _SUBMIT.items()},
        "submit-429": "429 although there is a slot",
        "foreign-polling-url": "the receipt's polling URL points at the foreign host",
        **{f"poll-{kind}": text for kind, text in _POLL.items()},
        "poll-unknown-status": "a status word that nobody knows, while the task is in flight",
        "foreign-sample": "the result's URL points at the foreign host",
        **{f"image-{kind}": text for kind, text in _IMAGE.items()},
        **{f"webhook-{kind}": text for kind, text in _WEBHOOK.items()},
    }
)
"""The dials by name, each with what it does."""

ENDS = ("Ready", "Request Moderated", "Content Moderated", "Error", "Failed", "Task not found")
"""The status words that a script may end a task with."""

# What a script may refuse a submit with; the words of 400 and 422 stand for any that a checked body brings.
REFUSALS: Mapping[int, str] = MappingProxyType(
    {
        400: "Bad Request",
        402: "Insufficient credits",
        403: "Not authenticated - Invalid Authentication",
        404: "Not Found",
        422: "Unprocessable Entity",
        429: "Too many active tasks",
    }
)
_FAILURES = {code: f"submit-{code}-before" for code in (500, 502, 503, 504)}


class Faults:
    """The dials of one sandbox; they may be turned at run time.

    Args:
        settings: What to begin with, by dial.
        seed: Of a generator of its own: faults do not change what the tasks draw.
        foreign: Whether there is a foreign host.
    Raises:
        ValueError: See `set`.
    """

    def __init__(self, settings: Mapping[str, Setting], *, seed: int, foreign: bool) -> None:
        self.fired: Counter[str] = Counter()  # by dial, since the start
        self._rng = random.Random(f"faults {seed}")
        self._foreign = foreign
        self._set: dict[str, float | deque[bool]] = {}
        self._script: deque[str | int] = deque()  # by _submit
        self.set_all(settings)

    def set(self, name: str, setting: Setting) -> None:
        """Turn a dial.

        Args:
            name: One of `DIALS`.
            setting: How likely it fires, from 0 to 1, or bools that say so, one an opportunity; afterwards it
                is off.
        Raises:
            ValueError: No such dial, no such probability, or no foreign host to point at.
        """
        self.set_all({name: setting})

    def set_all(self, settings: Mapping[str, Setting]) -> None:
        """Turn several dials, or none if one of them cannot be turned so.

        Raises:
            ValueError: See `set`.
        """
        checked = {name: self._checked(name, setting) for name, setting in settings.items()}
        for name, setting in checked.items():
            if setting:
                self._set[name] = setting
            else:
                self._set.pop(name, None)

    def clear(self, name: str | None = None) -> None:
        """Turn one dial off, or all.

        Raises:
            ValueError: No such dial.
        """
        if name is None:
            self._set.clear()
        else:
            self.set(name, 0.0)

    def settings(self) -> dict[str, float | list[bool]]:
        """The dials that are on; of a script what is left of it."""
        return {
            name: list(setting) if isinstance(setting, deque) else setting
            for name, setting in self._set.items()
        }

    def script(self, items: Iterable[str | int]) -> None:
        """Queue what happens to the next submits; see `Sandbox.script`.

        Raises:
            ValueError: An item is none of what a script may hold; nothing is queued then.
        """
        listed = list(items)
        for item in listed:
            if isinstance(item, str):
                known = item in ENDS or _MOMENTS.get(item, "").startswith("submit")
            else:
                known = item in REFUSALS or item in _FAILURES
            if not known:
                names = ", ".join(name for name, moment in _MOMENTS.items() if moment.startswith("submit"))
                raise ValueError(
                    f"a script cannot hold {item!r}: use {', '.join(ENDS)}; "
                    f"{', '.join(str(code) for code in (*REFUSALS, *_FAILURES))}; {names}"
                )
        self._script.extend(_FAILURES.get(item, item) if isinstance(item, int) else item for item in listed)

    def next_scripted(self) -> str | int | None:
        """Take what the script has for a submit that arrives: a status word, a code of `REFUSALS`, a dial."""
        return self._script.popleft() if self._script else None

    def draw(self, moment: Moment, scripted: str | int | None = None) -> str | None:
        """The dial that fires now, counted; None: nothing goes wrong.

        Args:
            moment: Where the sandbox is.
            scripted: What the script says of this submit; the dials are then left alone.
        """
        fires: str | None = None
        if isinstance(scripted, str):
            fires = scripted if _MOMENTS.get(scripted) == moment else None
        elif self._set:
            fires = next((name for name, of in _MOMENTS.items() if of == moment and self._fires(name)), None)
        if fires is not None:
            self.fired[fires] += 1
        return fires

    def _fires(self, name: str) -> bool:
        setting = self._set.get(name)
        if setting is None:
            return False
        if not isinstance(setting, deque):
            return self._rng.random() < setting
        fires = setting.popleft()
        if not setting:
            del self._set[name]
        return fires

    def _checked(self, name: str, setting: Setting) -> float | deque[bool]:
        if name not in DIALS:
            raise ValueError(f"there is no dial {name!r}: use {', '.join(DIALS)}")
        if "foreign" in name and not self._foreign:
            raise ValueError(f"{name} needs the foreign host: leave foreign=False out")
        if isinstance(setting, int | float) and not isinstance(setting, bool):
            if not 0 <= setting <= 1:
                raise ValueError(f"{name} takes a probability from 0 to 1, not {setting!r}")
            return float(setting)
        given: object = setting  # it may come out of JSON
        listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
        if listed is None or not all(isinstance(item, bool) for item in listed):
            raise ValueError(f"{name} takes a probability from 0 to 1 or a list of bools, not {setting!r}")
        return deque(listed)
