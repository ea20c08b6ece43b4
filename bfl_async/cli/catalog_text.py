"""What the commands say of models and prices, in words and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import click

from bfl_async._config import Limits
from bfl_async.batch.requests import fields_of
from bfl_async.cli.columns import stdout_columns, table_lines, text_lines
from bfl_async.cli.fields import DEFAULT_MODEL
from bfl_async.cli.output import SCHEMA, json_text, print_json, print_line
from bfl_async.cli.purposes import purpose_of
from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.errors import InvalidRequestError
from bfl_async.models import ImageRequest, ModelInfo, catalog
from bfl_async.models.describe import FieldInfo
from bfl_async.models.pricing import estimate
from bfl_async.runtime.files import Digests
from bfl_async.runtime.near import suggestion


def print_models(*, as_json: bool) -> None:
    """Print all models."""
    known = current_catalog()
    rows = [known.info(name) for name in known]
    if as_json:
        listed = [{"schema": SCHEMA, **_model_facts(row)} for row in rows]
        print_line(json_text(listed))
    else:
        listed_rows = [row for row in rows if row.state != "retired"]
        _print_table(
            ("model", "for", "credits", "notes"),
            [(row.name, purpose_of(row), price_text(row), _notes_text(row)) for row in listed_rows],
        )
        retired = [row for row in rows if row.state == "retired"]
        if retired:
            print_line("")
            _print_table(("retired", "use instead"), [(row.name, row.replaced_by) for row in retired])
        print_line("")
        _print_text(_LEGEND)


_LAST = frozenset({"user", "webhook_url", "webhook_secret"})
_LEGEND = (
    f"1 credit = 0.01 USD. Of models without a note {Limits().first_account} tasks run at a time. `bfl-async models "
    "NAME` lists the fields of one, `bfl-async estimate` gives the price of a request."
)


def _notes_text(info: ModelInfo) -> str:
    """What is special about a model, in few words."""
    limits = Limits()
    notes = ["default"] if info.name == DEFAULT_MODEL else []
    notes += [info.state] if info.state != "current" else []
    notes += [f"{limits.pools[pool]} at a time" for pool in info.pools if pool in limits.pools][:1]
    return ", ".join(notes)


def print_model(name: str, *, as_json: bool) -> None:
    """Print one model with its fields.

    Raises:
        click.UsageError: The catalog does not know it.
    """
    known = current_catalog()
    try:
        fields = known.describe(name)
    except InvalidRequestError as exc:
        raise click.UsageError(
            f"{exc}{suggestion(name, known) or ';'} `bfl-async models` lists those that it knows"
        ) from exc
    info = known.info(name)
    if as_json:
        print_json({**_model_facts(info), "fields": [_field_facts(field) for field in fields]})
        return
    _print_text(
        f"{info.name} ({info.family}, {_state_text(info)}): {purpose_of(info)}; credits: {price_text(info)}"
    )
    # What people set comes first.
    fields = tuple(sorted(fields, key=lambda field: field.name in _LAST))
    with_modes = any(field.mode for field in fields)
    _print_table(
        (*(("mode",) if with_modes else ()), "field", "type", "default", "bounds"),
        [
            (
                *((field.mode,) if with_modes else ()),
                field.name,
                _type_text(field),
                "(required)" if field.required else _default_text(field.default),
                _bounds_text(field),
            )
            for field in fields
        ],
    )


def print_estimate(request: ImageRequest, *, as_json: bool) -> None:
    """Print what a request would cost.

    Raises:
        InvalidRequestError: A file of it cannot be read, as when it is sent.
    """
    fields_of(request, Digests().of)
    found = estimate(request)
    if as_json:
        facts = {"model": request.model, "credits": found.credits, "usd": found.usd, "known": found.known}
        print_json({**facts, "basis": found.basis})
    elif found.known:
        print_line(f"{found.credits:g} credits ({found.usd:.4g} USD): {found.basis}")
    else:
        print_line(f"unknown: {found.basis}")


def price_text(info: ModelInfo) -> str:
    """A model's price in few words, in credits; "unknown" where none is published."""
    match info.price:
        case None:
            return "unknown"
        case catalog.Flat(credits, None):
            return "unknown" if credits is None else f"{credits:g}"
        case catalog.Flat(_, by_resolution):
            assert by_resolution is not None
            return f"{min(by_resolution.values()):g} to {max(by_resolution.values()):g}, by resolution"
        case catalog.PerMegapixel(first, further, highest):
            least = "at least " if highest is not None else ""
            return f"{least}{first:g} + {further:g} per further MP"
        case catalog.PerSecond(by_mode):
            rates = [rate for rates in by_mode.values() for rate in rates.values()]
            return f"{min(rates):g} to {max(rates):g} per second"
        case catalog.PerInputSecond(credits):
            return f"{credits:g} per second of input"
        case catalog.PerMegapixelSecond(by_creativity, captured):
            rates = list(by_creativity.values())
            least = "at least " if captured is not None else ""
            return f"{least}{min(rates):g} to {max(rates):g} per MP and second"


def _limit_text(info: ModelInfo) -> str:
    """Its narrowest pool, as `Limits` has it unless told otherwise."""
    limits = Limits()
    narrow = [f"{limits.pools[pool]} ({pool})" for pool in info.pools if pool in limits.pools]
    return narrow[0] if narrow else f"{limits.first_account}"


def _state_text(info: ModelInfo) -> str:
    return info.state if not info.replaced_by else f"{info.state}, use {info.replaced_by}"


def _model_facts(info: ModelInfo) -> dict[str, object]:
    return {
        "model": info.name,
        "endpoint": info.endpoint,
        "family": info.family,
        "purpose": purpose_of(info),
        "default": info.name == DEFAULT_MODEL,
        "price": price_text(info),
        "limit": _limit_text(info),
        "pools": list(info.pools),
        "state": info.state,
        "replaced_by": info.replaced_by or None,
        "median_s": info.median_s,
    }


def _field_facts(field: FieldInfo) -> dict[str, object]:
    return {
        "name": field.name,
        "type": field.type,
        "bounds": field.bounds or None,
        "default": field.default,
        "required": field.required,
        "mode": field.mode or None,
    }


_CHOICES = re.compile(r"Literal\[([^]]*)\]")
_PLAIN = {
    "MediaSource": "file or URL",
    "Sequence[MediaSource]": "files or URLs",
    "Keyframes": "files or URLs",
}


def _type_text(field: FieldInfo) -> str:
    """The type in a plain word."""
    kinds = [kind for kind in _CHOICES.sub("choice", field.type).split(" | ") if kind != "None"]
    return " or ".join(_PLAIN.get(kind, kind) for kind in kinds)


def _bounds_text(field: FieldInfo) -> str:
    choices = _CHOICES.search(field.type)
    listed = [] if choices is None else ["one of " + choices[1].replace('"', "")]
    return ", ".join([*([field.bounds] if field.bounds else []), *listed])


def _default_text(default: object) -> str:
    return "" if default is None else json.dumps(default, ensure_ascii=False)


def _print_text(text: str) -> None:
    for line in text_lines(text, stdout_columns()):
        print_line(line)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits the terminal, with a bold head."""
    for number, line in enumerate(table_lines(head, rows, stdout_columns())):
        print_line(line, bold=number == 0 and line.startswith(head[0]))
