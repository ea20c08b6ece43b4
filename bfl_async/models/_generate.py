"""Writes what the catalog and the classes already say: typed calls, and the lists of the package's public names.

    python -m bfl_async.models._generate            writes the files
    python -m bfl_async.models._generate --check    fails where they are not what the classes say

The lists are in `bfl_async/__init__.py` and `bfl_async/models/__init__.py`, between two comments that say so. A model
or an error is public as soon as it has its row in the catalog or its class in `errors.py`; `_NAMES` has the rest.

Type checkers and editors see one overload per model of the calls that take a model's name.
The client's calls and `request` take any model's name and any fields. Their overloads, in this order: one for each
known name and its fields; one for known names with fields that do not fit, whose answer can be used for nothing, so
that a wrong field is an error where the answer is used; one for names that are only known when the program runs.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from bfl_async import errors
from bfl_async.errors import BFLError
from bfl_async.models import CATALOG, request_classes
from bfl_async.models._base import ImageRequest
from bfl_async.models.describe import fields_of

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
    "status": ("TaskStatus",),
    "types": ("Estimate", "Outcome", "Reply", "Statistics", "Update"),
}
# What each call takes besides a model's fields.
_EXTRA = "extra_body: Mapping[str, object] | None = None"
_HEAD = '''"""{title}

Written by `python -m bfl_async.models._generate`, never by hand. Imported by type checkers only.
"""

# mypy: disable-error-code="overload-overlap, overload-cannot-match"
# pyright: reportOverlappingOverload=false
# The overload for fields that do not fit overlaps the others on purpose: see _generate.py.

from __future__ import annotations

'''


def files() -> dict[Path, str]:
    """Return the generated files and what they must hold."""
    made = {
        _PACKAGE / "models" / "_typed.py": _typed_dicts() + _request_calls(),
        _PACKAGE / "client" / "_overloads.py": _client_calls(),
        _PACKAGE / "__init__.py": _with_part(_PACKAGE / "__init__.py", _package_names()),
        _PACKAGE / "models" / "__init__.py": _with_part(_PACKAGE / "models" / "__init__.py", _model_names()),
    }
    return {path: _formatted(path, text) for path, text in made.items()}


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
    imports = """
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Required, TypedDict, Unpack, overload

from bfl_async.models._base import ImageRequest
from bfl_async.models._fields import Keyframes
from bfl_async.models.media import MediaSource
"""
    families: dict[str, list[str]] = {}
    for _, cls in _rows():
        families.setdefault(cls.__module__, []).append(cls.__name__)
    imports += "\n".join(f"from {home} import {', '.join(sorted(names))}" for home, names in families.items())
    text = [_HEAD.format(title="The fields of each model, and the typed face of `request`."), imports]
    for name, cls in _rows():
        text.append(
            f'\n\nclass {_fields_name(cls)}(TypedDict, total=False):\n    """Fields of `{name}`."""\n'
        )
        for field in fields_of(cls):
            kind = f"Required[{field.type}]" if field.required else field.type
            text.append(f"    {field.name}: {kind}")
    names = ", ".join(f'"{name}"' for name in CATALOG)
    text.append(f"\n\nKnownModel = Literal[{names}]\n\n")
    text.append(
        "class FieldsDoNotFitTheModel:\n"
        '    """The answer to a known model\'s name with fields that it does not have: good for nothing."""\n\n'
    )
    return "\n".join(text)


def _request_calls() -> str:
    text = ['\nclass RequestCalls(Protocol):\n    """`request`."""\n']
    text += [
        f"    @overload\n    def __call__(self, model: Literal[{name!r}], /, *, {_EXTRA}, "
        f"**fields: Unpack[{_fields_name(cls)}]) -> {cls.__name__}: ...\n"
        for name, cls in _rows()
    ]
    text.append(
        # Here `extra_body` is one of the fields: a mapping of any values may be unpacked into them.
        "    @overload\n    def __call__(self, model: KnownModel, /, **fields: object) -> FieldsDoNotFitTheModel: ...\n"
        "    @overload\n    def __call__(self, model: str, /, **fields: object) -> ImageRequest: ...\n"
    )
    return "\n".join(text)


def _client_calls() -> str:
    imports = """
from collections.abc import Mapping
from typing import Literal, Protocol, TypeVar, Unpack, overload

from bfl_async.models import ImageRequest
from bfl_async.models._typed import (
    KnownModel, FieldsDoNotFitTheModel,
"""
    imports += "".join(f"    {_fields_name(cls)},\n" for _, cls in _rows())
    imports += ')\n\nAnswer = TypeVar("Answer", covariant=True)\n'
    text = [_HEAD.format(title="The typed face of the client's calls that take a model's name."), imports]
    for name, title, more in (
        ("Calls", "`generate` and `submit`, by what they answer.", "timeout: float | None = None, "),
        ("NowaitCalls", "`submit_nowait`, by what it answers.", ""),
    ):
        text.append(f'\n\nclass {name}(Protocol[Answer]):\n    """{title}"""\n')
        more += "priority: int | None = None"
        extra = f"{more}, {_EXTRA}"
        text.append(
            f"    @overload\n    def __call__(self, request: ImageRequest, /, *, {extra}) -> Answer: ...\n"
        )
        text += [
            f"    @overload\n    def __call__(self, model: Literal[{model!r}], /, *, {extra}, "
            f"**fields: Unpack[{_fields_name(cls)}]) -> Answer: ...\n"
            for model, cls in _rows()
        ]
        text.append(
            f"    @overload\n    def __call__(self, model: KnownModel, /, *, {extra}, **fields: object) "
            "-> FieldsDoNotFitTheModel: ...\n"
            f"    @overload\n    def __call__(self, model: str, /, *, {extra}, **fields: object) -> Answer: ...\n"
        )
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
