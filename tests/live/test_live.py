"""The same checks at the real API and at a sandbox.

`BFL_API_KEY=... python -m pytest tests/live -m live --live -n 0` pays for images, less than 1 USD in all, and ends with
one table: what is different at the API, then what is the same. `BFL_PUBLIC_URL` is an https URL that leads to port
`BFL_PUBLIC_PORT` (8080) of this machine; without it no delivery is waited for. In the default suite a second sandbox
stands in the API's place, and must not differ.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from pathlib import Path

import pytest

from bfl_async import BudgetExceededError
from tests.live.checks import BUDGET_USD, CHECKS
from tests.live.conftest import FOUND, Found
from tests.live.exchanges import Difference, Exchange, differences
from tests.live.expected import EXPECTED
from tests.live.report import Finding, report
from tests.live.site import Site, a_sandbox, the_api
from tests.live.visit import Check

every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
NO_PUBLIC_URL = "needs BFL_PUBLIC_URL, an https URL that leads to this machine"


async def compare(check: Check, site: Site) -> Finding:
    """Try one thing at a site and at a sandbox."""
    async with a_sandbox(check.service_s) as sandbox:
        our_facts, ours = await sandbox.run(check)
    facts, theirs = await site.run(check)
    if str(facts.get("it ended with")).startswith(BudgetExceededError.__name__):
        return Finding(
            not_tried=f"{site.left_usd:.4f} USD of the budget are left, and it may cost {check.usd:.4f}"
        )
    rows = [
        Difference(what, facts.get(what, "-"), our_facts.get(what, "-")) for what in {**facts, **our_facts}
    ]
    return Finding([*rows, *differences(theirs, ours)])


def the_check(name: str) -> Check:
    (found,) = [check for check in CHECKS if check.name == name]
    return found


@every_check
async def test_a_sandbox_in_the_place_of_the_api_does_not_differ(check: Check) -> None:
    """So the checks work, and what they find at the API is the API's."""
    async with a_sandbox(check.service_s) as site:
        finding = await compare(check, site)
        assert finding.different == []
        assert {row.what: row.sandbox for row in finding.rows} == pytest.approx(EXPECTED[check.name])
        assert site.left_usd >= BUDGET_USD - check.usd - 1e-9


@pytest.fixture(scope="module")
def api(request: pytest.FixtureRequest) -> Site:
    """The real API, where it was asked for."""
    if not request.config.getoption("--live"):
        pytest.skip("pays for images: needs --live")
    if not os.environ.get("BFL_API_KEY"):
        pytest.skip("needs BFL_API_KEY")
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("one process holds the budget: needs -n 0")
    return the_api()


@pytest.mark.live
@pytest.mark.timeout(300)
@every_check
async def test_api(check: Check, api: Site, request: pytest.FixtureRequest) -> None:
    """It must answer; where it differs from the sandbox is told at the end."""
    found = request.config.stash[FOUND]
    if check.webhook and api.public_url is None:
        found.findings[check.name] = Finding(not_tried=NO_PUBLIC_URL)
        pytest.skip(NO_PUBLIC_URL)
    found.findings[check.name] = await compare(check, api)
    found.spent_usd = BUDGET_USD - api.left_usd


def test_all_checks_cost_less_than_the_budget() -> None:
    """By the catalog's highest prices; the client's `Budget` holds what is left, whatever they are."""
    assert math.fsum(check.usd for check in CHECKS) < BUDGET_USD == 1.0


async def test_the_budget_is_one_over_all_checks() -> None:
    """What one check has spent the next one cannot, and the report says so."""
    image = the_check("one image of flux-2-klein-4b")
    async with a_sandbox() as site:
        site.left_usd = 1.5 * image.usd
        await site.run(image)
        assert site.left_usd == pytest.approx(0.5 * image.usd)
        finding = await compare(image, site)
        assert finding.rows == []
        assert "0.0070 USD of the budget are left" in finding.not_tried
        assert site.left_usd == pytest.approx(0.5 * image.usd)


async def test_a_task_that_is_not_found_at_first_is_told_so() -> None:
    """For how long is the answer: a client that ends it sooner would lose a paid image."""
    check = the_check("a task at close range")
    async with a_sandbox(check.service_s, faults={"poll-not-found": [True] * 4}) as site:
        different = {row.what: row.api for row in (await compare(check, site)).different}
    seconds = different["seconds for which it was not found"]
    assert isinstance(seconds, float)
    assert 0.1 <= seconds < 5


@pytest.mark.parametrize(
    ("name", "settings", "rows"),
    [
        (
            "an end by webhook",
            {"webhook_scheme": "signature"},
            [
                (
                    "what proves a delivery",
                    "x-bfl-signature: HMAC-SHA256 of the body, in hex",
                    "x-webhook-secret: the secret",
                )
            ],
        ),
        (
            "a webhook that leads nowhere",
            {"webhook_polling_url": True},
            [
                (
                    "the answer to its submit has",
                    "cost, id, input_mp, output_mp, polling_url, status, webhook_url",
                    "cost, id, input_mp, output_mp, status, webhook_url",
                ),
                ("its end was found by", "the polling URL", "its id"),
            ],
        ),
        ("more than the limit", {"limit": 14}, [("tasks that were accepted", 14, 12)]),
        (
            "more than the limit",
            {"limit": 40},
            [
                ("one too many is answered", "as all others", "429 Too many active tasks"),
                ("tasks that were accepted", 25, 12),
            ],
        ),
        (
            "one image of flux-2-pro",
            {"rewrite_prompts": False},
            [("the prompt is rewritten just where upsampling is on", False, True)],
        ),
        (
            "the free probe",
            {"faults": {"submit-503-before": 1}},
            [("POST {} to a model", "503 Service Unavailable", "422 about prompt")],
        ),
    ],
    ids=["scheme", "polling URL", "limit 14", "limit 40", "prompts", "a refusal"],
)  # fmt: skip
async def test_a_server_that_differs_is_told_so(
    name: str, settings: dict[str, object], rows: list[tuple[str, object, object]]
) -> None:
    """In its place stands a sandbox whose settings another source says are the API's."""
    check = the_check(name)
    async with a_sandbox(check.service_s, **settings) as site:
        different = (await compare(check, site)).different
    found = {(row.what, row.api, row.sandbox) for row in different}
    assert found >= set(rows)


def test_the_report_is_one_table() -> None:
    """What differs stands first, then what does not, then what was not tried."""
    found = Found(
        {
            "a": Finding([Difference("one", "x | y", 2), Difference("two", True, True)]),
            "b": Finding(not_tried="needs a URL"),
            "c": Finding([Difference("three", "long " * 99, None)]),
        },
        0.25,
    )
    lines = report(found.findings, found.spent_usd)
    assert lines[2] == "| differs | a | one | x \\| y | 2 |"
    assert lines[3].startswith("| differs | c | three | long long ")
    assert len(lines[3]) < 200
    assert lines[4:] == [
        "| same | a | two | True | True |",
        "| not tried | b | needs a URL |  |  |",
        "",
        "2 of 4 rows differ; 0.2500 USD by the server's own figures",
    ]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_suite_ends_with_the_report() -> None:
    """As its user runs it, with a sandbox in the API's place."""
    async with a_sandbox() as site:
        names = {"BFL_API_KEY": site.key, "BFL_BASE_URL": site.base_url}
        # Those of pytest's own say that this one may run beside others.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "tests/live", "-m", "live", "--live", "-n", "0"),
            *("-q", "-p", "no:cacheprovider"),
            env={**inherited, **names},
            cwd=Path(__file__).parent.parent.parent,
            stdout=asyncio.subprocess.PIPE,
        )
        written, _ = await process.communicate()
    text = written.decode()
    assert process.returncode == 0, text
    assert "live: at most about 0.9" in text
    assert f"| not tried | an end by webhook | {NO_PUBLIC_URL} |  |  |" in text
    assert "| same | the free probe | POST {} to a model | 422 about prompt | 422 about prompt |" in text
    assert "USD by the server's own figures" in text


def test_differences_on_the_wire_are_rows() -> None:
    """Statuses, types, fields, headers, and answers that only one of them gave."""

    def poll(word: str, *fields: tuple[str, str], **more: str) -> Exchange:
        headers = frozenset(more.get("headers", "").split())
        return Exchange("a poll", 200, word, more.get("kind", "application/json"), headers, frozenset(fields))

    ours = [
        poll("Ready", ("id", "string"), ("cost", "number"), headers="date"),
        poll("Pending", ("progress", "null")),
        Exchange("POST /v1/x", 429),
    ]
    theirs = [
        poll("Ready", ("id", "number"), ("price", "string"), headers="date cf-ray", kind="text/json"),
        poll("Pending", ("progress", "number")),
        poll("Thinking"),
        poll("Error"),
        Exchange("POST /v1/x", 418),
    ]
    ready = "a poll that says 'Ready'"
    assert differences(theirs, ours) == [
        (f"{ready}: content type", "text/json", "application/json"),
        (f"{ready}: fields that the other one has not", "price (string)", "cost (number)"),
        (f"{ready}: type of id", "number", "string"),
        (f"{ready}: headers that the other one has not", "cf-ray", "none"),
        ("a poll that says 'Thinking'", "a status that this release does not know", "never answered so"),
        ("POST /v1/x that is answered 418", "answered so", "never answered so"),
        ("POST /v1/x that is answered 429", "never answered so", "answered so"),
    ]
    assert differences(ours, ours) == []
