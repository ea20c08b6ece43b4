"""What a row may not say, whatever its format and spelling, and files that are not what they are taken for."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shlex
import threading
import time
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, InvalidRequestError, request
from bfl_async.cli.files import InputError
from bfl_async.cli.rows import Kind, Rows, kind_of
from tests.fake import FakeAPI
from tests.nasty import NASTY, RAW


def rows_of(
    folder: Path,
    kind: Kind,
    data: str | bytes,
    *,
    name: str = "rows",
    model: str = "flux-dev",
    fields: Mapping[str, object] | None = None,
    columns: Mapping[str, str] | None = None,
    prompt: str | None = None,
    ignore: Sequence[str] = (),
    allow_unknown_models: bool = False,
    is_guessed: bool = False,
) -> Rows:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return Rows(
        str(path), kind, model=model, fields=fields or {}, folder=folder, allow_outside=False, columns=columns or {},
        prompt=prompt, repeat=1, ignore=ignore, allow_unknown_models=allow_unknown_models, is_guessed=is_guessed,
    )  # fmt: skip


def requests(rows: Rows) -> list[ImageRequest]:
    return [one[1] if isinstance(one, tuple) else one for one in rows.check()]


def bodies(rows: Rows) -> list[dict[str, object]]:
    return [dict(one.body()) for one in requests(rows)]


def message(rows: Rows) -> str:
    with pytest.raises(InputError) as caught:
        requests(rows)
    return caught.value.message


def written(kind: Kind, row: Mapping[str, object]) -> str:
    """A file of one row, in a format."""
    if kind in ("json", "jsonl"):
        return json.dumps([row] if kind == "json" else row) + "\n"
    mark = "," if kind == "csv" else "\t"
    return f"{mark.join(row)}\n{mark.join(map(str, row.values()))}\n"


FORMATS: list[Kind] = ["json", "jsonl", "csv", "tsv"]

# --- which endpoint -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("delete_finetune", "use the client's delete_finetune()"),
        ("licenses/models/flux-1-kontext-dev/usage", "use the client's report_usage()"),
        ("accounts/close", "use the client's post()"),
        ("flux-dve", "did you mean 'flux-dev'"),
        ("flux-9", "--allow-unknown-models lets rows name new ones"),
        ("FLUX-dev", "is not a model name"),
    ],
)
def test_a_row_names_models_of_the_catalog(tmp_path: Path, kind: Kind, name: str, says: str) -> None:
    """Anything else is in a message that names the row, before a request is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = message(rows_of(tmp_path, kind, written(kind, {"prompt": "x", "model": name})))
    assert says in found
    assert "line" in found


@pytest.mark.parametrize("kind", FORMATS)
def test_new_models_are_allowed_on_purpose_and_other_endpoints_are_not(tmp_path: Path, kind: Kind) -> None:
    """The model of the command line is the operator's own word."""
    with pytest.warns(UserWarning, match="catalog"):
        (made,) = requests(
            rows_of(
                tmp_path,
                kind,
                written(kind, {"prompt": "x", "model": "flux-8-row"}),
                allow_unknown_models=True,
            )
        )
    assert made.model == "flux-8-row"
    with pytest.warns(UserWarning, match="catalog"):
        (made,) = requests(rows_of(tmp_path, kind, written(kind, {"prompt": "x"}), model=f"flux-7-{kind}"))
    assert made.model == f"flux-7-{kind}"
    for name, method in (("delete_finetune", "delete_finetune()"), ("accounts/close", "post()")):
        row = {"prompt": "x", "model": name}
        says = message(rows_of(tmp_path, kind, written(kind, row), allow_unknown_models=True))
        assert f"use the client's {method}" in says


# --- where results go, and in whose name ----------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        "webhook_url", "webhook_secret", "user", "Webhook URL", "webhook-secret", "WEBHOOK_URL", " User ", "webhookUrl",
        "web hook url", "webhook\u200b_url", "\uff55\uff53\uff45\uff52", "webhooks", "u_s_e_r", "webhook.url",
    ],
)  # fmt: skip
def test_a_row_does_not_say_where_results_go(tmp_path: Path, kind: Kind, name: str) -> None:
    """In no spelling, also for a model whose fields nobody knows; the message names the way that there is."""
    for model in ("flux-dev", "flux-6-any"):
        row = {"prompt": "x", name: "https://h.example/hook"}
        says = message(rows_of(tmp_path, kind, written(kind, row), model=model))
        assert "is not a field of rows" in says
        assert "--set" in says


@pytest.mark.parametrize("kind", FORMATS)
def test_such_a_column_can_be_left_out_or_be_part_of_a_prompt(tmp_path: Path, kind: Kind) -> None:
    """It then sets nothing; the operator's own value stays."""
    data = written(kind, {"prompt": "x", "user": "somebody"})
    fields = {"user": "ours", "webhook_url": "https://ours.example/hook"}
    assert bodies(rows_of(tmp_path, kind, data, fields=fields, ignore=["user"])) == [
        {"prompt": "x", **fields}
    ]
    data = written(kind, {"user": "a fox", "seed": 1})
    assert bodies(rows_of(tmp_path, kind, data, prompt="{user} in oil")) == [
        {"prompt": "a fox in oil", "seed": 1}
    ]


@pytest.mark.parametrize("field", ["webhook_url", "webhook_secret", "user", "Webhook-URL"])
def test_no_column_is_chosen_for_them(tmp_path: Path, field: str) -> None:
    """The value would still be the row's."""
    with pytest.raises(InputError, match="--column cannot choose"):
        rows_of(tmp_path, "csv", "prompt,x\na,b\n", columns={field: "x"})


# --- texts that are none --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize(
    "row",
    [
        r'{"prompt": "half \ud83e"}',
        r'{"prompt": "x", "id": "\udd8a"}',
        r'{"prompt": "x", "\udd8a": 1}',
        r'{"prompt": "x", "model": "\ud800"}',
        r'{"prompt": "x", "extra": {"deep": ["a", {"b": "\udfff"}]}}',
        r'"\ud83e alone"',
        r'{"prompt": "a \u0000 b"}',
        r'{"prompt": "x", "id": "\u0000"}',
    ],
)
def test_a_text_that_no_encoding_has_is_named(tmp_path: Path, kind: Kind, row: str) -> None:
    """A ledger, a page or a terminal would raise on it, after something is paid."""
    good = '{"prompt": "a \\ud83e\\udd8a"}'
    data = f"[{good},\n{row}\n]" if kind == "json" else f"{good}\n{row}\n"
    for model in ("flux-dev", "flux-6-any"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            says = message(rows_of(tmp_path, kind, data, model=model))
        assert "line 2 of" in says
        assert "which is not text" in says
        assert not RAW.search(says)


@pytest.mark.parametrize(
    "name", ["a\0.png", "x" * 300, "\0", "loop/a.png", "~nobody/\0", "a/" * 490 + "b", "file.png/under", "."]
)  # fmt: skip
def test_a_name_that_the_system_rejects_is_named(tmp_path: Path, name: str) -> None:
    """Not usable, too long, a loop of links, a folder: never a traceback."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file.png").write_bytes(b"x")
    row = json.dumps({"prompt": "x", "image_prompt": name})
    assert "line 1 of" in message(rows_of(tmp_path, "jsonl", row))


def test_a_file_that_may_not_be_read_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when its content is wanted, where no line is known any more."""
    (tmp_path / "secret.png").write_bytes(b"x")
    monkeypatch.setattr("os.access", lambda *_: False)
    row = json.dumps({"prompt": "x", "image_prompt": "secret.png"})
    says = message(rows_of(tmp_path, "jsonl", f'"a"\n{row}\n'))
    assert "line 2 of" in says
    assert "'secret.png' cannot be read: permission denied" in says


async def test_an_id_that_no_encoding_has_is_refused_by_the_library_too(tmp_path: Path) -> None:
    """Before it reaches the ledger, which would take nothing more."""
    api = FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.002)
    async with (
        AsyncBFL(transport=api, limits=3, polling=Fixed(0.005)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        with pytest.raises(InvalidRequestError, match="surrogate pair") as caught:
            await batch.add([("row \udcff", request("flux-dev", prompt="x"))])
        assert not RAW.search(str(caught.value))
        await batch.add([("row 2", request("flux-dev", prompt="x"))])
        assert [outcome.ok async for outcome in batch.run()] == [True]


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": ' + "[" * 400 + "]" * 400 + "}", "[" * 100_000, '{"a":' * 500 + "1" + "}" * 500,
        '{"seed": ' + "9" * 5_000 + "}",
    ],
    ids=["list", "open", "object", "number"],
)  # fmt: skip
def test_json_that_is_too_deep_or_too_long_is_named(tmp_path: Path, row: str) -> None:
    """Whatever the model."""
    for model in ("flux-dev", "flux-6-any"):
        assert "line 1 of" in message(rows_of(tmp_path, "jsonl", row, model=model))


@pytest.mark.parametrize("kind", ["text", *FORMATS])
@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_messages_about_rows_are_safe_to_show(tmp_path: Path, kind: Kind, text: str) -> None:
    """Wherever a row holds a foreign text: as a column, a value, a model, an id or a file's name."""
    rows: list[dict[str, object]] = [
        {"prompt": "x", "model": text}, {"prompt": "x", "seed": text}, {text: "x", "seed": "y"},
        {"prompt": "x", "image_prompt": text[:900]}, {"prompt": "x", f"promp{text}t": text},
        {"prompt": "x", "width": text}, {"prompt": text, "output_format": text}, {"prompt": "x", "user" + text: text},
    ]  # fmt: skip
    for row in rows:
        data = text if kind == "text" else written(kind, row)
        found = ""
        try:
            requests(rows_of(tmp_path, kind, data.encode("utf-8", "surrogatepass")))
        except InputError as exc:
            found = exc.message
        assert not RAW.search(found)
        assert "\n" not in found
        assert len(found) <= 21_000


# --- formats --------------------------------------------------------------------------------------------


def test_json_arrays_and_objects_are_read(tmp_path: Path) -> None:
    """However they are laid out; an element may be a prompt alone."""
    rows = [{"prompt": "a", "seed": 1}, {"prompt": "b\n[", "id": "two"}, "c"]
    for indent in (None, 0, 2):
        data = json.dumps(rows, indent=indent)
        assert [body["prompt"] for body in bodies(rows_of(tmp_path, "json", data))] == ["a", "b\n[", "c"]
    assert bodies(rows_of(tmp_path, "json", '\ufeff\r\n{"prompt":\r\n"a"}\r\n')) == [{"prompt": "a"}]
    assert bodies(rows_of(tmp_path, "json", '"a"')) == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            '[\n{"prompt": "a"},\n7,\n{"prompt": "b", "seed": "x"}]',
            ["row 2 (line 3 of", "row 3 (line 4 of", "seed"],
        ),
        ('[{"prompt": "a"}\n{"prompt": "b"}]', ["line 2 of", "comma"]),
        ('[{"prompt": "a"},\n\n', ["line 3 of"]),
        ('[{"prompt": "a"}\n', ["not closed"]),
        ('["a"]\n\n["b"]', ["line 3 of", "more follows"]),
        ('{"prompt": "a"}\n{"prompt": "b"}\n', ["line 2 of", "--format jsonl"]),
        ('[{"prompt": "a",\n"prompt": "b"}]', ["line 1 of", "twice"]),
        ("[\n'a']", ["line 2 of", "not JSON"]),
        ('["a",]', ["line 1 of", "not JSON"]),
        ("[]", ["holds no prompt"]),
        (" \n", ["holds no prompt"]),
        ('["a",\n"b\n"]', ["line 2 of", "not JSON"]),
    ],
)
def test_what_is_wrong_in_a_json_file_is_named_by_its_line(
    tmp_path: Path, data: str, says: list[str]
) -> None:
    """And nothing of it becomes a request."""
    found = message(rows_of(tmp_path, "json", data))
    for part in says:
        assert part in found
    latin = message(rows_of(tmp_path, "json", '[\n"caf\u00e9"]'.encode("latin-1")))
    assert "line 2 of" in latin
    assert "Latin-1" in latin


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text"), ("a", "text"), ("-", "text"), ("/dev/fd/63", "text"), (".prompts", "text"),
        ("A.JSON", "json"), ("a.b.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.CSV", "csv"), ("a.tab", "tsv"),
    ],
)  # fmt: skip
def test_a_name_says_its_format(name: str, kind: Kind) -> None:
    """In any case of letters."""
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.yml", "YAML"), ("p.YAML", "YAML"), ("a.ods", "spreadsheet"), ("a.xlsm", "spreadsheet"),
        ("a.parquet", "CSV"), ("a.pickle", "Python"), ("a.csv.gz", "unpack"), ("a.html", "page"), ("a.png", "image"),
        ("a.sqlite", "database"), ("a.v2", "--format"), ("a.bak", "--format"), ("a.\x1b]0;x\x07", "--format"),
    ],
)  # fmt: skip
def test_a_name_of_another_format_is_refused_with_what_to_do(name: str, says: str) -> None:
    """It is never text because nobody knows better."""
    with pytest.raises(InputError) as caught:
        kind_of(name)
    assert says in caught.value.message
    assert not RAW.search(caught.value.message)


@pytest.mark.parametrize("kind", ["text", *FORMATS])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04\x14\0\6\0\x08\0", "ZIP"), (b"PAR1\x15\x04\x15", "binary"), (pickle.dumps(["a cat"]), "Python"),
        (gzip.compress(b"a cat\n", mtime=0), "compressed"), (b"\x89PNG\r\n\x1a\n", "image"),
        (b"SQLite format 3\0", "database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Office"), (b"%PDF-1.7\n%", "page"), (b"\x93NUMPY\x01\0", "Python"),
        ("a cat\n".encode("utf-16"), "UTF-16"), ("a cat\n".encode("utf-16-be"), "UTF-16"),
        ("a cat\n".encode("utf-32"), "UTF-32"),
    ],
)  # fmt: skip
def test_binary_content_is_named_whatever_the_file_says(
    tmp_path: Path, kind: Kind, data: bytes, says: str
) -> None:
    """Also under the name of a format that is read."""
    found = message(rows_of(tmp_path, kind, data))
    assert says in found
    assert not RAW.search(found)


@pytest.mark.parametrize(
    "first",
    [
        '[', '{"prompt": "a"}', '  ["a",', '[{"prompt": "a"}]', "{", "\ufeff[\r", "---", '<?xml version="1.0"?>',
        "<!DOCTYPE html>",
    ],
)  # fmt: skip
def test_what_looks_like_another_format_is_text_only_on_purpose(tmp_path: Path, first: str) -> None:
    """Without a suffix, as through a pipe, nobody said that it is text."""
    says = message(rows_of(tmp_path, "text", f"{first}\na cat\n", is_guessed=True))
    assert "JSON" in says or "YAML" in says or "page" in says
    assert len(bodies(rows_of(tmp_path, "text", f"{first.strip()}\na cat\n"))) == 2


@pytest.mark.parametrize(
    "prompt",
    [
        "[moderate-output] a cat", "{curly} braces", "- a dash", "RIFF cards", "GIF89 poster", "PAR1 golf", "[x]",
        "<b>",
    ],
)  # fmt: skip
def test_prompts_that_only_begin_in_a_strange_way_are_prompts(tmp_path: Path, prompt: str) -> None:
    """The check errs on no honest text."""
    assert bodies(rows_of(tmp_path, "text", prompt, is_guessed=True)) == [{"prompt": prompt}]


def test_csv_with_semicolons_is_read_where_its_header_says_so(tmp_path: Path) -> None:
    """Commas are then part of the text."""
    text = 'prompt;Seed;note\na cat, sitting;1;x\n"a; ""b""\nc";2\n'
    expected = [{"prompt": "a cat, sitting", "seed": 1}, {"prompt": 'a; "b"\nc', "seed": 2}]
    assert bodies(rows_of(tmp_path, "csv", text)) == expected
    assert bodies(rows_of(tmp_path, "csv", "sep=;\r\n" + text)) == expected
    rows = rows_of(tmp_path, "csv", '"Titel";"Stil"\n"ein Fuchs";"x"\n', columns={"prompt": "Titel"})
    assert bodies(rows) == [{"prompt": "ein Fuchs"}]
    assert bodies(rows_of(tmp_path, "csv", "prompt,note;x\na;b,c\n")) == [{"prompt": "a;b"}]


@pytest.mark.parametrize(
    ("kind", "header", "says"),
    [
        ("csv", "Titel;Stil", ["semicolons", "--column prompt=Titel"]),
        ("csv", "Titel\tStil", ["tabs", "--format tsv"]),
        ("csv", "Titel|Stil", ["bars"]),
        ("tsv", "prompt,seed", ["commas", "--format csv"]),
        ("tsv", "prompt;seed", ["semicolons"]),
        ("csv", "Titel", ["--column prompt=Titel"]),
    ],
)
def test_a_header_that_is_one_column_asks_what_separates_it(
    tmp_path: Path, kind: Kind, header: str, says: list[str]
) -> None:
    """And proposes nothing that would pay for a whole line as a prompt."""
    found = message(rows_of(tmp_path, kind, f"{header}\na cat;1\n"))
    for part in says:
        assert part in found
    assert f"prompt={header}" not in found or header == "Titel"


@pytest.mark.parametrize("name", ["x; rm -rf ~", "$(id)", "it's `id`", "two words"])
def test_a_command_that_a_message_proposes_runs_nothing_else(tmp_path: Path, name: str) -> None:
    """A header may come from anybody as well; a shell takes its name for one argument."""
    headers = [f"{name},y", f"{name};y", f"prompt,prompt{name[:1]}", f"prompt,webhook {name}"]
    for header in headers:
        says = message(rows_of(tmp_path, "csv", f"{header}\na,b\n"))
        for option in ("--column ", "--ignore-column "):
            if option in says:
                first = shlex.split(says.partition(option)[2].partition(" leaves it out")[0])[0]
                assert any(part in first for part in header.replace(";", ",").split(","))


def test_a_table_of_too_many_columns_is_refused(tmp_path: Path) -> None:
    """The work for a header has a bound."""
    assert "more than 1000 columns" in message(rows_of(tmp_path, "csv", "prompt," * 2_000 + "\na\n"))


def test_a_line_that_is_too_long_does_not_shift_those_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rest is not a prompt."""
    for module in ("files", "row_reader"):
        monkeypatch.setattr(f"bfl_async.cli.{module}.MAX_LINE_BYTES", 100)
    says = message(rows_of(tmp_path, "text", "a\n" + "b" * 150 + "\nc\n"))
    assert "line 2 of" in says
    assert "longer than 100 bytes" in says
    assert "line 3" not in says


# --- pipes ----------------------------------------------------------------------------------------------


async def piped(folder: Path, kind: Kind, data: bytes) -> list[object]:
    """The prompts of what comes through a named pipe."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    try:
        rows = Rows(
            str(pipe), kind, model="flux-dev", fields={}, folder=folder, allow_outside=False, columns={}, prompt=None,
            repeat=1, is_guessed=kind == "text",
        )  # fmt: skip
        found = rows.read()
        assert isinstance(found, AsyncIterator)
        return [(one[1] if isinstance(one, tuple) else one).body()["prompt"] async for one in found]
    finally:
        writer.join()
        pipe.unlink()


@pytest.mark.parametrize("kind", ["text", *FORMATS])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
async def test_a_pipe_is_read_as_a_file_is(tmp_path: Path, kind: Kind, end: str) -> None:
    """Whether its last line ends or not, and however long its lines are."""
    long = "long " * 100_000
    prompts = ["a cat", f"{long}dog", "\U0001f98a"]
    if kind == "text":
        data = "\n".join(prompts)
    elif kind in ("json", "jsonl"):
        data = json.dumps(prompts, indent=1) if kind == "json" else "\n".join(map(json.dumps, prompts))
    else:
        data = "\n".join(["prompt", *prompts])
    assert await piped(tmp_path, kind, (data + end).encode()) == prompts


async def test_a_pipe_stops_at_the_first_bad_row(tmp_path: Path) -> None:
    """What came before it may be on its way; JSON that nobody announced is not a prompt."""
    with pytest.raises(InputError, match="line 3 of"):
        await piped(tmp_path, "jsonl", b'"a"\n"b"\n{"model": "get_result"}\n"c"\n')
    with pytest.raises(InputError, match="looks like JSON"):
        await piped(tmp_path, "text", b'{"prompt": "a"}\n')


@pytest.mark.slow
@pytest.mark.alone
async def test_a_line_of_a_pipe_is_copied_once(tmp_path: Path) -> None:
    """Thirty megabytes in pieces of 64 KiB."""
    began = time.process_time()
    (found,) = await piped(tmp_path, "jsonl", b'"' + b"x" * 30_000_000 + b'"')
    assert len(str(found)) == 30_000_000
    assert time.process_time() - began < 3
