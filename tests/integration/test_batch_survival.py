"""Batches in processes of their own, which are killed, run out of disk or credits, and lose their server.

What must hold through all of it: no request is sent twice unasked, what was paid comes home or is reported, and no
file is half-written.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

_SERVER = """
import asyncio, sys
from bfl_async.sandbox import Sandbox

async def main():
    speed, rtt_s, port, seed = (float(word) for word in sys.argv[1:])
    async with Sandbox(limit=12, speed=speed, submit_rtt_s=rtt_s, port=int(port), seed=int(seed)) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
KEY = "sandbox-key"
SIZE = ("--width", "256", "--height", "256")


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def accepted(self) -> int:
        with urllib.request.urlopen(self.url + "/sandbox/statistics") as reply:
            return int(json.load(reply)["accepted"])

    def set(self, **settings: object) -> None:
        request = urllib.request.Request(
            self.url + "/sandbox/settings",
            json.dumps(settings).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request):
            pass


@contextmanager
def serving(*, speed: float, submit_s: float = 0.0, port: int = 0, seed: int = 0) -> Iterator[Server]:
    """A fresh sandbox; `submit_s` is the round trip of a submit, `seed` makes its task ids."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(speed), str(submit_s * speed), str(port), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def start(
    folder: Path, server: Server, *options: str, most_bytes: int | None = None
) -> subprocess.Popen[str]:
    """The batch command over `prompts.txt`; `most_bytes`: no file can grow beyond, as on a full disk."""

    def limit_files() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", "-m", "flux-2-klein-4b", *SIZE, *options],
        cwd=folder,
        env={**os.environ, "BFL_BASE_URL": server.url, "BFL_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit_files,
    )


def run(
    folder: Path, server: Server, *options: str, most_bytes: int | None = None
) -> tuple[int, dict[str, int], str]:
    """The same, to its end: exit code, summary, stderr."""
    batch = start(folder, server, *options, most_bytes=most_bytes)
    out, err = batch.communicate(timeout=120)
    assert "Traceback" not in err, err
    assert out, err
    return batch.returncode, json.loads(out.splitlines()[-1])["summary"], err


def check_files(folder: Path, saved: int) -> None:
    """As many whole images as the summary says, each in the manifest once, nothing half-written."""
    images = sorted((folder / "out").glob("*.jpg"))
    assert len(images) == saved
    lines = [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert sorted(line["file"] for line in lines) == [path.name for path in images]
    assert len({line["task_id"] for line in lines}) == saved, "no task stands for two images"
    digests = {line["file"]: line["sha256"] for line in lines}
    for path in images:
        with Image.open(path) as image:
            image.load()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digests[path.name]
    left = [path for path in (folder / "out").rglob("*") if path.suffix not in (".jpg", ".jsonl", ".db")]
    assert not left


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_batch_killed_forty_times_pays_once_and_brings_home_the_rest(tmp_path: Path) -> None:
    """SIGKILL at random moments: saved and ambiguous are all there is, and only the ambiguous are in doubt."""
    seed = int(os.environ.get("BFL_KILL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"BFL_KILL_SEED={seed}")  # noqa: T201 - shown when it fails: it replays the moments
    rng = random.Random(seed)
    prompts = 200
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(prompts)))
    with serving(speed=0.4, submit_s=0.1) as server:  # slow: forty lives and more
        kills = 0
        while kills < 40:
            batch = start(tmp_path, server)
            # The moment is what is tested, from the very first millisecond on.
            time.sleep(rng.uniform(0.0, 1.5))
            batch.send_signal(signal.SIGKILL)
            batch.communicate()
            kills += batch.returncode == -signal.SIGKILL
            assert batch.returncode == -signal.SIGKILL, "it was through before the last kill"
        server.set(speed=20.0)
        code, summary, _ = run(tmp_path, server)
        ambiguous = summary["ambiguous"]
        assert summary["saved"] + ambiguous == prompts
        assert code == (3 if ambiguous else 0)
        assert server.accepted() <= prompts, "each was sent at most once"
        check_files(tmp_path, summary["saved"])
        code, summary, _ = run(tmp_path, server, "--retry-ambiguous")
        assert (code, summary["saved"], summary["ambiguous"]) == (0, prompts, 0)
        accepted = server.accepted()
        print(f"{kills} kills, {ambiguous} ambiguous, {accepted} accepted")  # noqa: T201 - the figures
        assert accepted <= prompts + ambiguous
        check_files(tmp_path, prompts)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_batch_killed_forty_times_while_it_begins_its_ledger_is_resumed_each_time(tmp_path: Path) -> None:
    """SIGKILL as the file appears, and in the milliseconds after: the same command does all of it."""
    seed = int(os.environ.get("BFL_KILL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"BFL_KILL_SEED={seed}")  # noqa: T201 - shown when it fails: it replays the moments
    rng = random.Random(seed)
    empty = 0
    with serving(speed=50.0) as server:
        for kill in range(40):
            folder = tmp_path / str(kill)
            folder.mkdir()
            (folder / "prompts.txt").write_text(f"prompt {kill}\n")
            ledger = folder / "out" / "run.db"
            batch = start(folder, server)
            while not ledger.exists():
                assert batch.poll() is None
            # Every second one in the very moment in which the file appears.
            time.sleep(rng.choice([0.0, rng.uniform(0.0, 0.02)]))
            batch.send_signal(signal.SIGKILL)
            batch.communicate()
            empty += ledger.stat().st_size == 0
            accepted = server.accepted()
            code, summary, err = run(folder, server, "--retry-ambiguous")
            assert (code, summary["saved"]) == (0, 1), err
            # On a busy machine a killed run may have come as far as its task, which is attached then.
            assert server.accepted() - accepted <= 1
    print(f"{empty} of 40 kills left an empty file")  # noqa: T201 - the figure
    assert empty


@pytest.mark.slow
def test_second_command_on_a_ledger_is_refused_whatever_name_it_uses(tmp_path: Path) -> None:
    """A link of either kind, and with every other file of the run tidied away: each row is paid once."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(40)))
    with serving(speed=0.2) as server:
        first = start(tmp_path, server)
        while server.accepted() < 12:
            assert first.poll() is None
        out = tmp_path / "out"
        (out / "hard.db").hardlink_to(out / "run.db")
        (tmp_path / "soft.db").symlink_to(out / "run.db")
        for path in out.glob("*.lock"):
            path.unlink()
        for name in ("out/run.db", "out/hard.db", "soft.db"):
            second = start(tmp_path, server, "--ledger", name)
            _, err = second.communicate(timeout=60)
            assert second.returncode == 1
            assert f"held by another run (process {first.pid})" in err
        server.set(speed=20.0)
        first_out, _ = first.communicate(timeout=120)
        summary = json.loads(first_out.splitlines()[-1])["summary"]
        assert (first.returncode, summary["saved"], server.accepted()) == (0, 40, 40)
        (out / "hard.db").unlink()
        check_files(tmp_path, 40)


@pytest.mark.slow
def test_batch_without_credits_goes_on_after_a_top_up(tmp_path: Path) -> None:
    """402 half-way: what runs comes home, the rest stays queued, and the same command again does it."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(40)))
    with serving(speed=20.0) as server:
        server.set(credits=20.0)
        code, summary, err = run(tmp_path, server)
        assert code == 4
        assert "run the same again to go on" in err
        paid = server.accepted()
        assert 0 < paid < 40
        assert summary["saved"] == paid
        assert summary["queued"] == 40 - paid
        server.set(credits=1000.0)
        code, summary, _ = run(tmp_path, server)
        assert (code, summary["saved"]) == (0, 40)
        assert server.accepted() == 40
        check_files(tmp_path, 40)


@pytest.mark.slow
def test_batch_on_a_full_disk_sends_nothing_that_it_cannot_note(tmp_path: Path) -> None:
    """The ledger cannot grow: the run stops, and with room again the same command pays for each once."""
    prompts = 150
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(prompts)))
    with serving(speed=20.0) as server:
        server.set(credits=0.0)
        code, _, _ = run(tmp_path, server)
        assert code == 4
        server.set(credits=10_000.0)
        room = (tmp_path / "out" / "run.db").stat().st_size + 2 * 4096
        code, summary, err = run(tmp_path, server, most_bytes=room)
        assert code == 1
        assert "the ledger 'out/run.db' cannot be used" in err
        sent = server.accepted()
        assert 0 < sent < prompts
        code, summary, _ = run(tmp_path, server)
        assert (code, summary["saved"], summary["ambiguous"]) == (0, prompts, 0)
        assert server.accepted() == prompts
        check_files(tmp_path, prompts)


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk of its own for a folder; call the result with its size in KiB."""
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("a small disk needs Linux")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"this user may not mount a small disk: {mount.stderr.strip()}")

    def resize(kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


FILL_LEVELS_KIB = (*range(16, 128, 16), *range(144, 560, 32))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_room_the_disk_has_each_accepted_task_is_recorded_or_reported(tmp_path: Path) -> None:
    """Ledger, images and manifest share a disk that fills: with room again the same command fetches all.

    A task whose id could not be recorded must be in the outcomes of the run that sent it, and in no promise.
    """
    assert len(FILL_LEVELS_KIB) == 20
    prompts = 50
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(prompts)))
    fills = stops = 0
    for kib in FILL_LEVELS_KIB:
        with serving(speed=20.0) as server, small_disk(tmp_path / "out") as resize:
            resize(kib)
            batch = start(tmp_path, server)
            out, err = batch.communicate(timeout=120)
            assert "Traceback" not in err, err
            assert batch.returncode in (0, 1), (kib, batch.returncode, err)
            accepted = server.accepted()
            lines = [json.loads(line) for line in out.splitlines()]
            unrecorded = [line for line in lines if "could not be recorded" in str(line.get("error"))]
            if lines:
                summary = lines[-1]["summary"]
                known = summary["saved"] + summary["ready"] + summary["submitted"]
                assert known + len(unrecorded) == accepted, (kib, summary)
                assert summary["ambiguous"] == len(unrecorded)
            else:
                assert accepted == 0, "nothing is sent where the ledger cannot be opened"
            fills += batch.returncode == 1
            stops += 0 < accepted < prompts

            resize(16 * 1024)
            _, summary, err = run(tmp_path, server)
            assert summary["saved"] + summary["ambiguous"] == prompts, (kib, summary, err)
            assert summary["ambiguous"] == len(unrecorded), (kib, summary, err)
            assert server.accepted() == prompts
            check_files(tmp_path, summary["saved"])
        shutil.rmtree(tmp_path / "out")
    print(f"{fills} fills, {stops} after some tasks were accepted")  # noqa: T201 - the figures
    assert stops >= 5


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_tasks_that_a_restarted_server_has_forgotten_are_reported_and_not_sent_again(tmp_path: Path) -> None:
    """The server comes back empty: what was in flight there is failed, with its task id, and paid once."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(30)))
    with serving(speed=0.2) as server:
        port = server.port
        batch = start(tmp_path, server)
        while server.accepted() < 12:
            assert batch.poll() is None
        batch.send_signal(signal.SIGKILL)
        batch.communicate()
        lost = server.accepted()
    with serving(speed=20.0, port=port, seed=1) as server:
        code, summary, _ = run(tmp_path, server)
        assert code == 3
        assert summary["failed"] + summary["ambiguous"] >= lost
        assert summary["failed"] + summary["ambiguous"] + summary["saved"] == 30
        assert server.accepted() == summary["saved"], "none of the lost was sent again"
        code, summary, _ = run(tmp_path, server, "--retry-failed", "--retry-ambiguous")
        assert (code, summary["saved"]) == (0, 30)
        check_files(tmp_path, 30)
