"""Writes what the catalog and the classes already say: typed calls, what editors show of fields, and public names.

    python -m bfl_async.models._generate            writes the files
    python -m bfl_async.models._generate --check    fails where they are not what the classes say

The lists are in `bfl_async/__init__.py` and `bfl_async/models/__init__.py`, between two comments that say so. A model
or an error is public as soon as it has its row in the catalog or its class in `errors.py`; `_NAMES` has the rest.

Type checkers and editors see these overloads of the calls that take a model's name, in this order:

1. One per known model, with its fields. `**fields` has a type that no value fits, so that a wrong field does not change
   which overload is the closest one: pyright marks the field itself.
2. One for known names with fields that most models have, but this model does not. Its answer has no use.
3. Two for a name that is a `str` known only when the program runs. A type checker accepts a literal wherever it accepts
   a `str`: what these take is not checked for a known name either. So they take only the fields that most models have
   by name. The second one is for `**fields`, a mapping that is unpacked, and for `extra_body`: these have the rest.
4. One that fits no call. mypy describes a failing call by the first overload that would fit if type arguments did not
   count. Without this one it would list all overloads, name no field, and go on with Any.
"""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bfl_async import errors
from bfl_async.errors import BFLError
from bfl_async.models import CATALOG, request_classes
from bfl_async.models._base import ImageRequest
from bfl_async.models._document import docstring, documented_source, field_text, price_text
from bfl_async.models.describe import FieldInfo, fields_of

_PACKAGE = Path(__file__).parent.parent
_BEGIN = "# Written by `python -m bfl_async.models._generate`, up to the next comment.\n"
_END = "# End of what is generated.\n"

# The public names of the package, by the module that each comes from, without those of models and errors.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "_config": ("Budget", "Limits", "Timeouts"),
    "batch.batch": ("Batch",),
    "batch.outcome": ("BatchOutcome",),
    "client.account": ("DeletedFinetune", "Finetune", "UsageReport"),
    "client.client": ("AsyncBFL",),
    "client.handle": ("TaskHandle",),
    "client.stream": ("OutcomeStream",),
    "models": ("Flux3Video", "ImageRequest", "request"),
    "models.media": ("MediaSource",),
    "models.sizes": ("Size", "size_for"),
    "polling.fixed": ("Fixed",),
    "polling.policies": ("Adaptive",),
    "results.result": ("Result",),
    "results.sheet": ("show",),
    "status": ("TaskStatus",),
    "types": ("Estimate", "Outcome", "Reply", "Statistics", "Update"),
}
# What each call takes besides a model's fields.
_EXTRA = {"extra_body": "Mapping[str, object] | None"}
_HEAD = '''"""{title}

Written by `python -m bfl_async.models._generate`, never by hand. Imported by type checkers only.
"""

# mypy: disable-error-code="overload-overlap, overload-cannot-match, override"
# pyright: reportOverlappingOverload=false, reportIncompatibleMethodOverride=false
# The overloads overlap, and protocols differ from `object`, on purpose: see _generate.py.

from __future__ import annotations

'''


def files() -> dict[Path, str]:
    """Return the generated files and what they must hold."""
    made = {
        **_documented(),
        _PACKAGE / "models" / "_typed.py": _typed_dicts() + _request_calls(),
        _PACKAGE / "client" / "_overloads.py": _client_calls(),
        _PACKAGE / "__init__.py": _with_part(_PACKAGE / "__init__.py", _package_names()),
        _PACKAGE / "models" / "__init__.py": _with_part(_PACKAGE / "models" / "__init__.py", _model_names()),
    }
    return {path: _formatted(path, text) for path, text in made.items()}


def _documented() -> dict[Path, str]:
    """Return the modules that have request classes, with a text below each field."""
    homes = sorted({cls.__module__ for _, cls in _rows()} | {"bfl_async.models._fields"})
    made: dict[Path, str] = {}
    for home in homes:
        module = sys.modules[home]
        path = Path(module.__file__ or "")
        made[path] = documented_source(path, vars(module))
    return made


def _with_part(path: Path, part: str) -> str:
    """Return a file's text with its generated part replaced."""
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{path} has lost the comments around what is generated")
    return f"{before}{begin}{part}{end}{after}"


def _formatted(path: Path, text: str) -> str:
    name = ["--stdin-filename", str(path), "-"]
    for command in (["ruff", "check", "--fix", "--quiet", "--exit-zero", *name], ["ruff", "format", *name]):
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def _imports(homes: Mapping[str, tuple[str, ...]]) -> str:
    """Return the imports that type checkers read."""
    lines = [f"    from bfl_async.{home} import {name} as {name}\n" for home in homes for name in homes[home]]
    return "if TYPE_CHECKING:\n" + "".join(lines)


def _package_names() -> str:
    found = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, BFLError)]
    homes = {home: set(names) for home, names in _NAMES.items()}
    homes["errors"] = {cls.__name__ for cls in found}
    homes["models"].update(cls.__name__ for _, cls in _rows())
    names = {home: tuple(sorted(homes[home])) for home in sorted(homes)}
    table = "\n_HOMES: dict[str, tuple[str, ...]] = {\n"
    for home in names:
        listed = "".join(f'"{name}", ' for name in names[home]).rstrip()
        line = f'    "{home}": ({listed if len(names[home]) == 1 else listed.rstrip(",")}),\n'
        if len(line) > 110:
            wrapped = textwrap.fill(listed, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)
            line = f'    "{home}": (\n{wrapped}\n    ),\n'
        table += line
    return _imports(names) + table + "}  # fmt: skip\n"


def _model_names() -> str:
    # The union of a model's modes is no class of the catalog.
    homes = {"models.flux3": ["Flux3Video"]}
    for _, cls in _rows():
        homes.setdefault(cls.__module__.removeprefix("bfl_async."), []).append(cls.__name__)
    return _imports({home: tuple(sorted(homes[home])) for home in sorted(homes)})


def _rows() -> list[tuple[str, type[ImageRequest]]]:
    return [(name, cls) for name in CATALOG for cls in request_classes(name)]


def _fields_name(cls: type[ImageRequest]) -> str:
    return f"{cls.__name__}Fields"


def _typed_dicts() -> str:
    imports = f"""
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Required, TypedDict, TypeVar, overload

from bfl_async.models._base import ImageRequest
{_USED_TYPES}
"""
    families: dict[str, list[str]] = {}
    for _, cls in _rows():
        families.setdefault(cls.__module__, []).append(cls.__name__)
    imports += "\n".join(f"from {home} import {', '.join(sorted(names))}" for home, names in families.items())
    text = [_HEAD.format(title="The fields of each model, and the typed face of `request`."), imports]
    for name, cls in _rows():
        text.append(
            f"\n\nclass {_fields_name(cls)}(TypedDict, total=False):\n"
            + docstring(f"Fields of `{name}`. {price_text(CATALOG[name])}")
        )
        for field in fields_of(cls):
            kind = f"Required[{field.type}]" if field.required else field.type
            text.append(f"    {field.name}: {kind}\n{docstring(field_text(field, [CATALOG[name]]))}".rstrip())
    names = ", ".join(f'"{name}"' for name in CATALOG)
    text.append(f"\n\nKnownModel = Literal[{names}]\n\n")
    text.append(_MISFITS)
    return "\n".join(text)


_MISFITS = '''
class FieldsDoNotFitTheModel:
    """The answer to a known model's name with fields that it does not have: it has no use."""


_T_co = TypeVar("_T_co", covariant=True)


class NoSuchField(Protocol[_T_co]):
    """`NoSuchField[str]` is the type of a field that the model does not have: no value fits it."""

    def __sizeof__(self) -> _T_co: ...


class WrongType(Protocol[_T_co]):
    """`WrongType[str]` stands beside the types that a field takes in some model; no value fits it."""

    def __sizeof__(self) -> _T_co: ...


class NoModelTakesTheseFields(Protocol[_T_co]):
    """`NoModelTakesTheseFields[str]` is the type of a name that does not go with the fields; no text fits it."""

    def __len__(self) -> _T_co: ...
'''
# Editors show the message at the call.
_DEPRECATED = '    @deprecated("this model does not take one of these fields, or needs another one")\n'
_USED_TYPES = """
from typing_extensions import deprecated

from bfl_async.models._fields import Keyframes
from bfl_async.models.media import MediaSource
"""


def _parameters(fields: Iterable[FieldInfo]) -> str:
    return "".join(f"{row.name}: {row.type}{'' if row.required else ' = ...'}, " for row in fields)


@functools.cache
def _all_fields() -> dict[str, dict[str, int]]:
    """Return the types that each field has, and how many models have it so."""
    found: dict[str, dict[str, int]] = {}
    for _, cls in _rows():
        for row in fields_of(cls):
            types = found.setdefault(row.name, {})
            types[row.type] = types.get(row.type, 0) + 1
    return found


def _common_fields() -> dict[str, str]:
    """Return the fields that three of four models have, with their types."""
    least = 0.75 * len(_rows())
    return {name: _union(types) for name, types in _all_fields().items() if sum(types.values()) >= least}


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(part for one in types for part in one.split(" | ")))


def _overloads(own: Mapping[str, str], answer_of: Callable[[str], str]) -> str:
    """Return the overloads of one call.

    Args:
        own: The call's own parameters with their types; all may be left out.
        answer_of: Returns the type of the answer, of a class's name; of "" for a model that is not known.
    """
    typed = "".join(f"{name}: {kind} = None, " for name, kind in own.items())
    loose = "".join(f"{name}: object = ..., " for name in [*own, *_common_fields()] if name != "extra_body")
    wrong = "".join(f"{name}: {kind} | WrongType[str] = None, " for name, kind in own.items())
    every = "".join(
        f"{name}: {_union(types)} | WrongType[str] = ..., " for name, types in _all_fields().items()
    )
    rows = [
        (
            f"Literal[{name!r}]",
            f"{typed}{_parameters(fields_of(cls))}**fields: NoSuchField[str]",
            cls.__name__,
        )
        for name, cls in _rows()
    ]
    calls = [(model, parameters, answer_of(name)) for model, parameters, name in rows]
    common = typed + "".join(
        f"{name}: {kind}{'' if name == 'prompt' else ' = ...'}, " for name, kind in _common_fields().items()
    )
    calls += [
        ("KnownModel", common, "FieldsDoNotFitTheModel"),
        ("str", common, answer_of("")),
        ("str", f"{loose}extra_body: object", answer_of("")),
        ("NoModelTakesTheseFields[str]", f"{wrong}{every}**fields: NoSuchField[str]", answer_of("")),
    ]
    return "\n".join(
        f"    @overload\n{_DEPRECATED if model == 'KnownModel' else ''}"
        f"    def __call__(self, model: {model}, /, *, {parameters}) -> {answer}: ...\n"
        for model, parameters, answer in calls
    )


def _request_calls() -> str:
    head = '\n\nclass RequestCalls(Protocol):\n    """`request`."""\n'
    return head + "\n" + _overloads(_EXTRA, lambda name: name or "ImageRequest")


def _client_calls() -> str:
    imports = f"""
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeVar, overload

from bfl_async.models import ImageRequest
from bfl_async.models._typed import (
    KnownModel, FieldsDoNotFitTheModel, NoModelTakesTheseFields, NoSuchField, WrongType,
)
{_USED_TYPES}
Answer = TypeVar("Answer", covariant=True)
"""
    text = [_HEAD.format(title="The typed face of the client's calls that take a model's name."), imports]
    priority = {"priority": "int | None"}
    for name, title, own in (
        ("Calls", "`generate` and `submit`, by what they answer.", {"timeout": "float | None"} | priority),
        ("NowaitCalls", "`submit_nowait`, by what it answers.", priority),
    ):
        text.append(f'\n\nclass {name}(Protocol[Answer]):\n    """{title}"""\n')
        own = own | _EXTRA
        typed = "".join(f"{name}: {kind} = None, " for name, kind in own.items())
        text.append(
            f"    @overload\n    def __call__(self, request: ImageRequest, /, *, {typed}) -> Answer: ...\n"
        )
        text.append(_overloads(own, lambda _: "Answer"))
    return "\n".join(text)


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them; return the exit code."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(
                f"{path.name} is not what the classes say: run python -m bfl_async.models._generate\n"
            )
        return 1 if stale else 0
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
