"""Other people's clients work at the sandbox, unpatched: BFL's guide's loop, BFL's own client, and two more.

Each is installed from the package index into an environment of its own, and is skipped with the reason where that
cannot be reached. The scripts take the sandbox's address and key from the environment, and write what they were told.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bfl_async.sandbox import Sandbox
from noxfile import find_python
from tests.tls import certificate_in

IMAGES = 3
INSTALL_S = 240.0
KEY = "bfl_of_a_sandbox_1"

# Writes the URL of each result, and how each file begins.
END = """
print(json.dumps([(url, fetch(url)[:2].hex()) for url in urls]))
"""

# The loop of BFL's guide: the polling URL as it was told, and the task's id as a parameter beside the one in it.
GUIDE_REQUESTS = """
import json, os, time, requests
headers = {"accept": "application/json", "x-key": os.environ["KEY"], "Content-Type": "application/json"}
urls = []
for n in range(int(os.environ["IMAGES"])):
    told = requests.post(
        os.environ["URL"] + "/v1/flux-2-pro",
        headers=headers,
        json={"prompt": f"a cat, number {n}", "width": 256, "height": 256},
    ).json()
    while True:
        time.sleep(0.5)
        result = requests.get(
            told["polling_url"],
            headers={"accept": "application/json", "x-key": os.environ["KEY"]},
            params={"id": told["id"]},
        ).json()
        if result["status"] == "Ready":
            urls.append(result["result"]["sample"])
            break
        assert result["status"] not in ("Error", "Failed"), result
fetch = lambda url: requests.get(url).content
"""

GUIDE_HTTPX = """
import asyncio, json, os, httpx
async def generate(client, prompt):
    told = (await client.post("/v1/flux-2-klein-4b", json={"prompt": prompt, "width": 256, "height": 256})).json()
    while True:
        await asyncio.sleep(0.5)
        result = (await client.get(told["polling_url"])).json()
        if result["status"] == "Ready":
            return result["result"]["sample"]
        assert result["status"] == "Pending", result
async def main():
    async with httpx.AsyncClient(base_url=os.environ["URL"], headers={"x-key": os.environ["KEY"]}) as client:
        count = int(os.environ["IMAGES"])
        return await asyncio.gather(*(generate(client, f"a cat, number {n}") for n in range(count)))
urls = asyncio.run(main())
fetch = lambda url: httpx.get(url).content
"""

OFFICIAL = """
import contextlib, io, json, os, requests
from blackforest import BFLClient
from blackforest.types.general.client_config import ClientConfig
client = BFLClient(os.environ["KEY"], base_url=os.environ["URL"])
urls = []
# It prints a line for each poll.
with contextlib.redirect_stdout(io.StringIO()):
    for n in range(int(os.environ["IMAGES"])):
        inputs = {"prompt": f"a cat, number {n}", "width": 256, "height": 256}
        urls.append(client.generate("flux-pro-1.1", inputs, ClientConfig(sync=True)).result["sample"])
    client.track_usage_via_api("flux-dev", 2)
fetch = lambda url: requests.get(url).content
"""

# It knows no polling URLs, and waits only if its user does.
UNOFFICIAL = """
import json, os, time, httpx
os.environ["BFL_API_KEY"] = os.environ["KEY"]
from black_forest_labs.client import Client
client = Client(base_url=os.environ["URL"])
urls = []
for n in range(int(os.environ["IMAGES"])):
    task = client.generate("flux-dev", prompt=f"a cat, number {n}", width=256, height=256)
    while not task.is_done:
        time.sleep(0.2)
        task = client.get_result(task)
    urls.append(task.result.sample)
fetch = lambda url: httpx.get(url).content
"""

CELESTE = """
import asyncio, json, os, httpx
from celeste import create_client
async def main():
    client = create_client(
        modality="images", provider="bfl", model="flux-2-pro", api_key=os.environ["KEY"], base_url=os.environ["URL"]
    )
    return [
        (await client.generate(f"a cat, number {n}")).content.url for n in range(int(os.environ["IMAGES"]))
    ]
urls = asyncio.run(main())
fetch = lambda url: httpx.get(url).content
"""


@dataclass(frozen=True)
class Foreign:
    """A client that is not ours.

    Attributes:
        script: Makes `urls` and `fetch`.
        newest_python: It needs an interpreter that is newer than the oldest one that we support.
        usage: What it reports of licensed models.
    """

    name: str
    requirement: str
    script: str
    newest_python: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)


CLIENTS = (
    Foreign("the guide, with requests", "requests==2.34.2", GUIDE_REQUESTS),
    Foreign("the guide, with httpx", "httpx==0.28.1", GUIDE_HTTPX),
    Foreign("blackforest", "blackforest==0.1.3", OFFICIAL, usage={"flux-1-dev": 2}),
    Foreign("black-forest-labs", "black-forest-labs==1.0.0", UNOFFICIAL),
    Foreign("celeste-ai", "celeste-ai==1.0.0", CELESTE, newest_python=True),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * INSTALL_S)]


def install(client: Foreign, folder: Path) -> Path:
    """Make an environment with a client; its interpreter. Skips the test where that cannot be done."""
    base: str | None = sys.executable
    if client.newest_python and sys.version_info < (3, 12):
        base = find_python("3.12") or find_python("3.13")
    if base is None:
        pytest.skip(f"{client.requirement} needs Python 3.12 or newer, and there is none")
    python = folder / "bin" / "python"
    for command in (
        [base, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--no-input", client.requirement],
    ):
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{client.requirement} was not installed within {INSTALL_S:.0f} s")
        if made.returncode != 0:
            said = (made.stderr or made.stdout).strip().splitlines() or ["pip says nothing"]
            pytest.skip(f"{client.requirement} cannot be installed: {said[-1][:120]}")
    return python


async def images_of(
    client: Foreign, python: Path, sandbox: Sandbox, variables: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Run a client's script; what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-W", "ignore", "-c", client.script + END),
        # Nothing of this process's own, such as a proxy or a key.
        env={"URL": sandbox.url, "KEY": sandbox.key, "IMAGES": str(IMAGES), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        written, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    images: list[tuple[str, str]] = json.loads(written)
    return images


def check(sandbox: Sandbox, images: list[tuple[str, str]]) -> None:
    """Every image came home, and nothing was refused."""
    assert [begin for _, begin in images] == ["ffd8"] * IMAGES
    assert len({url for url, _ in images}) == IMAGES
    assert all(url.startswith(f"{sandbox.url}/results/") for url, _ in images)
    seen = sandbox.statistics()
    assert (seen.accepted, seen.active, seen.downloads) == (IMAGES, 0, IMAGES)
    refused = (seen.refused_402, seen.refused_403, seen.refused_404, seen.refused_422, seen.refused_429)
    assert refused == (0, 0, 0, 0, 0)
    assert seen.downloads_with_key == 0
    assert seen.polls >= IMAGES
    assert [task.status for task in sandbox.tasks.values()] == ["Ready"] * IMAGES


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_foreign_client_gets_its_images(client: Foreign, tmp_path: Path) -> None:
    """By http, as `bfl-async sandbox` serves, and by https, which some clients insist on.

    What makes them trust the certificate is a variable of the environment.
    """
    python = await asyncio.to_thread(install, client, tmp_path / "venv")
    async with Sandbox(key=KEY, service_s=0.3) as sandbox:
        check(sandbox, await images_of(client, python, sandbox, {}))
        assert sandbox.utilities.usage == client.usage
    certificate = certificate_in(tmp_path)
    trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(certificate.cert))
    async with Sandbox(key=KEY, service_s=0.3, tls=certificate.server_side()) as sandbox:
        check(sandbox, await images_of(client, python, sandbox, trust))
