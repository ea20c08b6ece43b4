"""What an editor shows of a field: pyright's language server, as Pylance and other editors run it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bfl_async.catalog import CATALOG
from bfl_async.models import request_classes
from bfl_async.models._document import MEANINGS, family_of
from bfl_async.models.describe import fields_of

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
from bfl_async import Flux2Pro, Flux3Image, FluxPro11
from bfl_async.models._typed import Flux2ProFields

FluxPro11(prompt="x", width=512)
Flux2Pro(prompt="x", height=512)
Flux3Image(prompt="x", resolution="2k")
fields: Flux2ProFields = {"prompt": "x", "safety_tolerance": 5}
"""


class LanguageServer:
    """pyright's language server, for one file.

    Args:
        process: The server.
        path: The file.
    """

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self._path = path
        self._last_id = 0

    def open(self) -> None:
        """Begin, and open the file."""
        markdown = {"textDocument": {"hover": {"contentFormat": ["markdown"]}}}
        folder = {"uri": self._path.parent.as_uri(), "name": "program"}
        self._call("initialize", processId=None, capabilities=markdown, workspaceFolders=[folder])
        self._send(method="initialized", params={})
        document = {"uri": self._path.as_uri(), "languageId": "python", "version": 1}
        self._send(
            method="textDocument/didOpen",
            params={"textDocument": {**document, "text": self._path.read_text()}},
        )

    def hover(self, text: str) -> str:
        """Return what is shown above the last word of a text."""
        before, found, _ = self._path.read_text().partition(text)
        assert found
        place = before + text
        line = place.count("\n")
        column = len(place) - place.rfind("\n") - 3
        uri = {"uri": self._path.as_uri()}
        shown = self._call(
            "textDocument/hover", textDocument=uri, position={"line": line, "character": column}
        )
        assert isinstance(shown, dict), text
        return re.sub(r"\s+", " ", shown["contents"]["value"].replace("&nbsp;", " "))

    def _send(self, **message: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> dict[str, object]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the server has ended"
        return cast("dict[str, object]", json.loads(self._process.stdout.read(length)))

    def _call(self, method: str, **params: object) -> object:
        self._last_id += 1
        self._send(id=self._last_id, method=method, params=params)
        while True:
            message = self._receive()
            if "method" not in message:
                assert message["id"] == self._last_id
                return message.get("result")
            if "id" in message:
                items = cast("dict[str, list[object]]", message["params"] or {}).get("items", [])
                self._send(id=message["id"], result=[{} for _ in items])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LanguageServer]:
    """A server that has the program open."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    with subprocess.Popen(
        ["pyright-langserver", "--stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as process:
        server = LanguageServer(process, path)
        server.open()
        yield server
        process.terminate()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_editor_shows_what_a_field_means_its_range_and_price(server: LanguageServer) -> None:
    """In the class of a model, in its mapping of fields, and of the class its price."""
    width = server.hover('FluxPro11(prompt="x", width')
    assert "Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024." in width
    assert "Range: from 64. The price depends on it." in server.hover('Flux2Pro(prompt="x", height')
    assert "Price in credits by resolution: " in server.hover('Flux3Image(prompt="x", resolution')
    assert "0 is the strictest. Range: 0 to 5. Default: 2." in server.hover('"x", "safety_tolerance')
    assert "Price: 4 credits." in server.hover("Flux3Image, FluxPro11")
    assert "Price: 3 credits for the first megapixel" in server.hover("import Flux2Pro")


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    """A new field needs its line."""
    names = {
        family_of(row.name) for name in CATALOG for cls in request_classes(name) for row in fields_of(cls)
    }
    assert names == MEANINGS.keys()
    assert all(
        (text.endswith(".") and text[0].isupper()) or text.startswith("http") for text in MEANINGS.values()
    )
