"""The same checks at the real API and at a sandbox.

`BFL_API_KEY=... python -m pytest tests/live -m live --live -n 0 -s` pays for images, less than 1 USD in all, and ends
with where the API differs from the sandbox. `BFL_PUBLIC_URL` is an https URL that leads to port `BFL_PUBLIC_PORT`
(8080) of this machine; without it no webhook is tried. In the default suite a second sandbox stands in the API's
place, and must not differ.
"""

from __future__ import annotations

import math
import os

import pytest

from tests.live.checks import BUDGET_USD, CHECKS, Check
from tests.live.conftest import FOUND
from tests.live.exchanges import Exchange, differences
from tests.live.site import Site, a_sandbox, the_api

every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)


async def compare(check: Check, site: Site) -> list[str]:
    """Try one thing at a site and at a sandbox, and say in plain words where they differ."""
    async with a_sandbox() as sandbox:
        our_facts, ours = await sandbox.run(check)
    facts, theirs = await site.run(check)
    found = [
        f"{what}: {facts.get(what)} at the API, {our_facts.get(what)} at the sandbox"
        for what in {**facts, **our_facts}
        if facts.get(what) != our_facts.get(what)
    ]
    return [*found, *differences(theirs, ours)]


@every_check
async def test_a_sandbox_in_the_place_of_the_api_does_not_differ(check: Check) -> None:
    """So the checks work, and what they find at the API is the API's."""
    async with a_sandbox() as site:
        facts, _ = await site.run(check)
        assert all(fact is not False for fact in facts.values()), "what is looked for is there"
        assert await compare(check, site) == []
        assert site.left_usd >= BUDGET_USD - 2 * check.usd - 1e-9


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
    """What it says must be understood; where it differs from the sandbox is told at the end."""
    if check.webhook and api.public_url is None:
        pytest.skip("needs BFL_PUBLIC_URL")
    request.config.stash[FOUND][check.name] = await compare(check, api)


def test_all_checks_cost_less_than_the_budget() -> None:
    """By the catalog's prices; each client's `Budget` holds what is left, whatever they are."""
    assert math.fsum(check.usd for check in CHECKS) < BUDGET_USD == 1.0


async def test_the_budget_is_one_over_all_checks() -> None:
    """What one check has spent the next one cannot."""
    image = CHECKS[0]
    async with a_sandbox() as site:
        site.left_usd = 1.5 * image.usd
        await site.run(image)
        assert site.left_usd == pytest.approx(0.5 * image.usd)
        with pytest.raises(Exception, match="budget"):
            await site.run(image)


def test_differences_are_told_in_plain_words() -> None:
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
    assert differences(theirs, ours) == [
        "a poll that says 'Ready': content type text/json from the API, application/json from the sandbox",
        "a poll that says 'Ready': only the API has the field price (string)",
        "a poll that says 'Ready': only the sandbox has the field cost (number)",
        "a poll that says 'Ready': id is number from the API, string from the sandbox",
        "a poll that says 'Ready': only the API sends the header cf-ray",
        "a poll that says 'Thinking': this release does not know that status",
        "POST /v1/x that is answered 418: the sandbox gave no such answer",
        "POST /v1/x that is answered 429: only the sandbox answered so",
    ]
    assert differences(ours, ours) == []
