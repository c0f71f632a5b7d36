"""Content in an object store: a real S3 server (moto's), shared by several homes and processes."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import obstore
import pytest
from obstore.store import from_url

import vespera_orchestrator as vespera
from support import content_race
from vespera_orchestrator.artifacts import garbage
from vespera_orchestrator.artifacts.content import object_store, open_content
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.artifacts.content.object_store import ObjectContent
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.errors import (
    ContentAccessError,
    CorruptContentError,
    InvalidInputError,
    MissingDependencyError,
    StoreError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
QUICK = {
    "max_retries": 1,
    "backoff": {
        "init_backoff": timedelta(milliseconds=10),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    },
}


def sha(content: bytes) -> str:
    """Return the digest that *content* should get."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server in its own process, without buckets."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        yield f"http://127.0.0.1:{process.stdout.readline().decode().strip()}"
        process.stdin.close()
        process.wait(timeout=30)


def request(address: str, method: str, body: bytes = b"") -> bytes:
    """Send a request to the server directly."""
    asked = urllib.request.Request(
        address,
        data=body or None,
        method=method,
        headers={"Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return answer.read()


@pytest.fixture
def s3(server, monkeypatch) -> str:
    """The address of the empty server with the bucket ``bucket``.

    The environment has the credentials and the endpoint.
    """
    request(f"{server}/moto-api/reset", "POST")
    request(f"{server}/bucket", "PUT")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return server


def bucket():
    """Return the bucket, to look into it directly."""
    return from_url("s3://bucket", client_options={"allow_http": "true"})


@pytest.fixture(params=["s3", "memory"])
def content(request) -> ObjectContent:
    """An object store, empty."""
    if request.param == "memory":
        return ObjectContent("memory://")
    request.getfixturevalue("s3")
    return ObjectContent("s3://bucket/some/folder")


LARGE = os.urandom(9 << 20)
"""Goes up in parts."""


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"hello " * 5000, bytes(3 << 20), LARGE],
    ids=["none", "one", "text", "zeros", "large"],
)
def test_what_was_put_is_read_back(content, data):
    """Bytes and streams give the same digest, and come back whole and in pieces."""
    assert isinstance(content, ContentStore)
    assert content.put(data) == content.put(io.BytesIO(data)) == (sha(data), len(data))
    assert content.read(sha(data)) == data
    with content.open(sha(data)) as stream:
        assert b"".join(iter(lambda: stream.read(700_000), b"")) == data
    assert content.verify(sha(data)) is None
    assert content.path(sha(data)) is None


@pytest.mark.usefixtures("s3")
def test_what_shrinks_is_kept_small():
    """The server holds the frame, under a name that says so."""
    digest, _ = ObjectContent("s3://bucket/some/folder").put(b"hello " * 5000)
    assert obstore.head(bucket(), f"some/folder/{digest[:2]}/{digest[2:]}.zst")["size"] < 500


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("data", [b"important", b"hello " * 5000], ids=["plain", "packed"])
def test_missing_and_changed_bytes_are_named_and_repaired(data):
    """Damaged bytes are never returned; putting them again replaces them."""
    content = ObjectContent("s3://bucket/some/folder")
    digest, _ = content.put(data)
    key = f"some/folder/{digest[:2]}/{digest[2:]}" + (".zst" if len(data) > 4096 else "")
    obstore.put(bucket(), key, bytes(obstore.get(bucket(), key).bytes())[:-1] + b"T")
    with pytest.raises(
        CorruptContentError,
        match=r"s3://bucket/some/folder/.*(not those that were saved|frame is damaged)",
    ):
        content.read(digest)
    assert content.verify(digest) is not None
    content.put(data)
    assert content.read(digest) == data
    obstore.delete(bucket(), key)
    with pytest.raises(CorruptContentError, match="missing"):
        content.read(digest)
    with pytest.raises(CorruptContentError, match="missing"), content.open(digest):
        pass


def key_of(digest: str, *, packed: bool = False) -> str:
    """Return the key of a content in the bucket."""
    return f"some/folder/{digest[:2]}/{digest[2:]}{'.zst' if packed else ''}"


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("data", [os.urandom(2 << 20), LARGE], ids=["at once", "in parts"])
def test_what_is_large_is_sent_again_only_where_it_is_another(data):
    """Equal bytes are not sent again; a damaged copy of the same size is replaced."""
    content = ObjectContent("s3://bucket/some/folder")
    digest, _ = content.put(data)
    sent, real = [], content._bucket._obstore.put
    content._bucket._obstore = SimpleNamespace(
        **{**vars(obstore), "put": lambda *args, **how: (sent.append(args[1]), real(*args, **how))}
    )
    content.put(data)
    assert sent == []
    obstore.put(bucket(), key_of(digest), data[:-1] + bytes([data[-1] ^ 1]))
    content.put(data)
    assert len(sent) == 1
    assert content.read(digest) == data


@pytest.mark.usefixtures("s3")
def test_what_was_read_and_was_damaged_is_not_trusted(monkeypatch):
    """If the e-tag does not show the damage, reading does, and the next put replaces the copy."""
    data = os.urandom(2 << 20)
    content = ObjectContent("s3://bucket/some/folder")
    digest, _ = content.put(data)
    wrong = obstore.put(bucket(), key_of(digest), bytes(len(data)))["e_tag"].strip('"')
    monkeypatch.setattr(object_store, "_e_tag", lambda _: wrong)
    content.put(data)
    assert content.verify(digest) is not None
    content.put(data)
    assert content.verify(digest) is None


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64])
def test_only_digests_are_looked_up(content, digest):
    """No other name reaches the server."""
    with pytest.raises(CorruptContentError, match="is not a SHA-256 digest"):
        content.read(digest)


# --- when it does not go well ----------------------------------------------------------


def nothing_recorded(
    folder: Path, address: str | ObjectContent, error: type[StoreError], match: str
) -> None:
    """Save with the content at *address*: the error says why, and nothing is recorded."""
    with vespera.open(folder, content=address) as orch:
        orch.initialize_session("test")
        task = orch.plan_task("Write")
        with pytest.raises(error, match=match):
            orch.artifacts.save("Title", "text")
        with pytest.raises(error, match=match):
            orch.complete_task(task, summary="done", detailed_work="all of it")
        assert orch.artifacts.list() == []
        assert orch.get_task(task.id).status == "pending"


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there(tmp_path):
    """The error names it, and nothing is recorded."""
    nothing_recorded(
        tmp_path, "s3://nobody/folder", ContentAccessError, "no such bucket; create it"
    )
    with pytest.raises(ContentAccessError, match="no such bucket"):
        ObjectContent("s3://nobody").read("a" * 64)


def test_credentials_that_are_wrong(s3, tmp_path):
    """The error names them, and nothing is recorded."""
    request(f"{s3}/moto-api/reset-auth", "POST", b"0")
    try:
        nothing_recorded(
            tmp_path, "s3://bucket/folder", ContentAccessError, "access is refused.*credentials"
        )
    finally:
        request(f"{s3}/moto-api/reset-auth", "POST", b"1000000")


@pytest.mark.usefixtures("s3")
def test_a_server_that_is_down(tmp_path, monkeypatch):
    """The error is retryable; when the server is back, the same call succeeds."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    content = ObjectContent("s3://bucket/folder", retry_config=QUICK)
    nothing_recorded(
        tmp_path, content, StoreUnavailableError, "s3://bucket/folder: .*safe to try again"
    )
    with pytest.raises(StoreUnavailableError):
        content.read("a" * 64)


@pytest.mark.usefixtures("s3")
def test_a_server_that_does_not_answer(monkeypatch):
    """A call gives up in the end."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        content = ObjectContent(
            "s3://bucket", client_options={"timeout": "200ms"}, retry_config={"max_retries": 0}
        )
        with pytest.raises(StoreUnavailableError, match="safe to try again"):
            content.put(b"x")


@pytest.mark.parametrize(
    "address",
    [
        "s3",
        "s3://",
        "ftp://host/x",
        "file://relative",
        "https://host/x",
        "az://container",
        "artifacts",
        "s3:///x",
    ],
)
def test_an_address_that_is_none(tmp_path, address):
    """It is refused when the project is opened, not when the first work is handed in."""
    with pytest.raises(InvalidInputError, match="content: .*" + address):
        vespera.open(tmp_path, content=address)


def test_an_object_that_is_no_content_store(tmp_path):
    """It is refused when the project is opened."""
    with pytest.raises(InvalidInputError, match="ContentStore contract"):
        vespera.open(tmp_path, content=tmp_path)


def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch):
    """The error names the command that installs the package."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependencyError, match=r"vespera-orchestrator\[objects\]"):
        vespera.open(tmp_path, content="s3://bucket")


# --- where it is said -------------------------------------------------------------------


def test_addresses(tmp_path):
    """A folder may be given by its address; the default is the home's."""
    assert open_content(None, tmp_path).url == tmp_path.as_uri()
    content = open_content((tmp_path / "odd näme").as_uri(), tmp_path)
    assert isinstance(content, FolderContent)
    assert content.folder == tmp_path / "odd näme"


def test_where_the_content_is_is_said_by_argument_environment_or_settings(tmp_path, monkeypatch):
    """They apply in this order; the settings hold for everybody who opens the home."""
    config = tmp_path / ".task_orchestrator" / "config.toml"
    places = {name: tmp_path / name for name in ("settings", "environment", "argument")}

    def saved_in(**how: str) -> str:
        with vespera.open(tmp_path, **how) as orch:
            orch.initialize_session("test")
            digest = orch.artifacts.save("Title", "text").digest
        (place_name,) = [
            name
            for name, place in places.items()
            if place.exists() and FolderContent(place).path(digest)
        ]
        places[place_name].rename(tmp_path / f"{place_name}-was")
        return place_name

    vespera.open(tmp_path).close()
    config.write_text(f'content = "{places["settings"].as_uri()}"\n')
    assert saved_in() == "settings"
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_CONTENT", places["environment"].as_uri())
    assert saved_in() == "environment"
    assert saved_in(content=places["argument"].as_uri()) == "argument"


CHILD = """
import vespera_orchestrator as vespera
with vespera.open() as orch:
    (given,) = orch.artifacts.list()
    orch.artifacts.save("Answer", orch.artifacts.text(given).upper())
"""


@pytest.mark.usefixtures("s3")
def test_a_spawned_agent_inherits_where_the_content_is(tmp_path):
    """A child reads what its parent saved, and the parent what the child saved.

    None of it is in the home.
    """
    with vespera.open(tmp_path, content="s3://bucket/shared") as orch:
        orch.initialize_session("test")
        orch.artifacts.save("Question", "how?" * 3000)
        environment = orch.spawn_agent_with_context().environ()
        subprocess.run([sys.executable, "-c", CHILD], env=environment, cwd=tmp_path, check=True)
        assert orch.artifacts.text(orch.artifacts.find("Answer")) == "HOW?" * 3000
        assert [path for path in orch.home.joinpath("artifacts").rglob("*") if path.is_file()] == []
    (tmp_path / "other").mkdir()
    with vespera.open(tmp_path / "other", content=ObjectContent("memory://")) as orch:
        orch.initialize_session("test")
        with pytest.raises(InvalidInputError, match="memory"):
            orch.spawn_agent_with_context().environ()


MACHINE = """
import sys
import vespera_orchestrator as vespera
home, name = sys.argv[1:]
with vespera.open(home, content="s3://bucket/shared") as orch:
    orch.initialize_session(name)
    for number in range(12):
        orch.artifacts.save(f"Common {number}", f"said by both {number} " * 600)
        orch.artifacts.save(f"Own {number}", f"{name} {number}")
    assert orch.artifacts.verify() == []
    print(len(orch.artifacts.list()))
"""


def test_two_machines_share_one_object_store(s3, tmp_path):
    """Two homes save at once: equal contents are stored once, and all of them are sound."""
    homes = [tmp_path / name for name in ("first", "second")]
    for home in homes:
        home.mkdir()
    machines = [
        subprocess.Popen(
            [sys.executable, "-c", MACHINE, str(home), home.name], stdout=subprocess.PIPE, text=True
        )
        for home in homes
    ]
    assert [machine.communicate(timeout=60)[0].strip() for machine in machines] == ["24", "24"]
    assert request(f"{s3}/bucket?list-type=2", "GET").count(b"<Key>") == 12 + 2 * 12 + len(homes)


# --- taking away ------------------------------------------------------------------------

AT_ONCE = -60.0
"""A grace time that is over before it starts."""


@pytest.fixture
def hasty(monkeypatch):
    """A grace time of any length is allowed."""
    monkeypatch.setattr(garbage, "_SHORTEST_GRACE_S", AT_ONCE)


def opened(folder: Path, **how) -> vespera.Orchestrator:
    """A project whose contents are in the bucket."""
    folder.mkdir(exist_ok=True)
    orch = vespera.open(folder, content="s3://bucket/shared", **how)
    orch.initialize_session("test")
    return orch


@pytest.mark.usefixtures("s3", "hasty")
def test_collecting_takes_two_calls(tmp_path):
    """The first call marks unreferenced contents, the second removes them.

    A dry run changes nothing, and the same bytes can be saved again.
    """
    with opened(tmp_path) as orch:
        saved = orch.artifacts.save("Kept", "kept")
        unrecorded = orch.artifacts.draft("Gone", "gone" * 3000)

        def collect(*, dry_run: bool) -> tuple[int, int, int]:
            result = orch.artifacts.collect_garbage(older_than_s=AT_ONCE, dry_run=dry_run)
            return result.contents, result.condemned, result.kept

        assert orch.artifacts.collect_garbage(older_than_s=3600).kept == 1
        assert [collect(dry_run=True), collect(dry_run=True), collect(dry_run=False)] == [
            (0, 1, 0)
        ] * 3
        assert [collect(dry_run=True), collect(dry_run=False), collect(dry_run=False)] == [
            (1, 0, 0),
            (1, 0, 0),
            (0, 0, 0),
        ]
        assert orch.artifacts.read(saved) == b"kept"
        assert orch.artifacts._content.verify(unrecorded.digest) == "the object is missing"
        again = orch.artifacts.save("Again", "gone" * 3000)
        assert again.digest == unrecorded.digest
        assert collect(dry_run=False) == (0, 0, 0)
        assert orch.artifacts.verify() == []
        assert orch.check().is_clean


@pytest.mark.usefixtures("s3")
def test_a_check_tells_what_belongs_to_nothing(tmp_path, monkeypatch):
    """It is a note, given if nobody else uses the bucket; it changes nothing."""
    with opened(tmp_path / "first") as orch:
        orch.artifacts.draft("Gone", "gone")
        assert orch.check().findings == ()
        monkeypatch.setattr(object_store, "utcnow", lambda: datetime.now(UTC) + timedelta(days=2))
        before = sorted(about["path"] for some in obstore.list(bucket()) for about in some)
        (finding,) = orch.check().findings
        assert (finding.kind, "1 contents" in finding.sentence) == ("orphan", True)
        assert sorted(about["path"] for some in obstore.list(bucket()) for about in some) == before
        with opened(tmp_path / "other") as other:
            other.artifacts.save("Other", "other")
        assert orch.check().findings == ()


@pytest.mark.usefixtures("s3", "hasty")
def test_what_another_store_refers_to_is_never_collected(tmp_path):
    """A store leaves its name with its first put.

    Nobody collects beside another store, or where only others have put contents.
    """
    first, second = opened(tmp_path / "first"), opened(tmp_path / "second")
    with first, second:
        theirs = first.artifacts.save("Theirs", "theirs")
        with pytest.raises(InvalidInputError, match="other stores put"):
            second.artifacts.collect_garbage(older_than_s=AT_ONCE)
        assert first.artifacts.collect_garbage(older_than_s=AT_ONCE).condemned == 0
        second.artifacts.draft("Gone", "gone")
        for orch, other in ((first, "second"), (second, "first")):
            with pytest.raises(
                InvalidInputError,
                match=rf"other stores put.*users/.*{other}/.task_orchestrator/.*delete that object",
            ):
                orch.artifacts.collect_garbage(older_than_s=AT_ONCE)
        assert first.artifacts.read(theirs) == b"theirs"
        (name,) = [
            about["path"]
            for some in obstore.list(bucket(), "shared/users")
            for about in some
            if b"second" in bytes(obstore.get(bucket(), about["path"]).bytes())
        ]
        obstore.delete(bucket(), name)
        assert [
            first.artifacts.collect_garbage(older_than_s=AT_ONCE).condemned for _ in range(2)
        ] == [1, 0]
        with pytest.raises(InvalidInputError, match=r"other stores put.*first"):
            second.artifacts.collect_garbage(older_than_s=AT_ONCE)
        assert first.artifacts.collect_garbage(older_than_s=AT_ONCE, sole_user=True).condemned == 0
        assert first.artifacts.read(theirs) == b"theirs"


@pytest.mark.usefixtures("s3", "hasty")
def test_what_nobody_is_known_to_have_put_is_not_collected(tmp_path):
    """A store that has put nothing removes nothing, unless told that nobody needs it."""
    digest, _ = ObjectContent("s3://bucket/shared").put(b"somebody's own")
    with opened(tmp_path) as orch:
        with pytest.raises(
            InvalidInputError, match=r"has put nothing into s3://bucket/shared.*sole_user=True"
        ):
            orch.artifacts.collect_garbage(older_than_s=AT_ONCE)
        for _ in range(2):
            orch.artifacts.collect_garbage(older_than_s=AT_ONCE, sole_user=True)
        assert orch.artifacts._content.verify(digest) is not None


@pytest.mark.usefixtures("s3", "hasty")
def test_a_copy_of_a_home_is_another_store(tmp_path):
    """What only the copy refers to would not be known to the first one, so neither collects."""
    with opened(tmp_path / "first") as orch:
        orch.artifacts.save("Title", "text")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    with opened(tmp_path / "copy") as orch:
        orch.artifacts.save("Title", "another")
        with pytest.raises(InvalidInputError, match="other stores put"):
            orch.artifacts.collect_garbage(older_than_s=AT_ONCE)


def test_a_content_store_of_ones_own_is_not_collected(tmp_path):
    """The error says so."""

    class Own:
        url = "own:"
        put = read = open = path = verify = lambda *_: None

    with (
        vespera.open(tmp_path, content=Own()) as orch,
        pytest.raises(InvalidInputError, match="not collected from here; Own may know"),
    ):
        orch.artifacts.collect_garbage()


COLLECTOR = """
import os, signal, sys
from types import SimpleNamespace
import obstore
from vespera_orchestrator.artifacts.content.object_store import ObjectContent

content, left = ObjectContent("s3://bucket/some/folder"), int(sys.argv[2])
def dying(real):
    def call(*args, **how):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **how)
    return call
fake = SimpleNamespace(**vars(obstore))
for name in ("put", "get", "head", "list", "delete"):
    setattr(fake, name, dying(getattr(obstore, name)))
content._bucket._obstore = fake
if sys.argv[1] == "collect":
    content.collect(lambda: set(sys.argv[3:]), older_than_s=-60)
else:
    content.used_by("somebody")
    content.put(b"gone")
"""


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("doing", ["collect", "put"])
def test_killed_at_every_request(doing):
    """SIGKILL before each request of a collection or a put.

    Referenced contents stay, and the same call again finishes the work.
    """
    ended, step = None, 0
    while ended != 0:
        step += 1
        content = ObjectContent("s3://bucket/some/folder")
        used, unused, packed = (
            content.put(data)[0] for data in (b"kept", b"gone", b"packed " * 3000)
        )
        if step % 2:
            content.collect(lambda used=used: {used}, older_than_s=AT_ONCE)
        ended = subprocess.run(
            [sys.executable, "-c", COLLECTOR, doing, str(step), used], check=False
        ).returncode
        assert ended in {0, -signal.SIGKILL}
        assert content.read(used) == b"kept"
        assert content.read(content.put(b"gone")[0]) == b"gone"
        assert (
            content.collect(
                lambda unused=unused, used=used: {unused, used}, older_than_s=3600
            ).contents
            == 0
        )
        assert content.read(unused) == b"gone"
        for _ in range(2):
            content.collect(lambda used=used: {used}, older_than_s=AT_ONCE)
        assert [content.verify(digest) is None for digest in (used, unused, packed)] == [
            True,
            False,
            False,
        ]
    assert step > 2


def race(folder, **least):
    """Race in a bucket; its times are whole seconds, so contents are collected after some."""
    code = "__import__('{0}', fromlist='x').ObjectContent('s3://bucket')"
    make = code.format("vespera_orchestrator.artifacts.content.object_store")
    content_race.race(folder / "records", make, contents=60, grace_s=2.5, pause_s=0.4, **least)


@pytest.mark.soak
@pytest.mark.usefixtures("s3")
def test_collecting_never_takes_what_a_writer_has_just_put(tmp_path):
    """Nothing recorded is missing while some put, read and forget and others collect."""
    race(tmp_path, puts=20, takings=3)


@pytest.mark.soak
@pytest.mark.usefixtures("s3")
def test_collecting_beside_writers_for_long(tmp_path):
    """The same for two minutes."""
    race(tmp_path, puts=50, takings=50, seconds=120)


# --- processes and threads ----------------------------------------------------------------

FORKED = """
import os, sys
from vespera_orchestrator.artifacts.content.object_store import ObjectContent
content = ObjectContent("s3://bucket")
digest, _ = content.put(b"x")
child = os.fork()
if child == 0:
    try:
        content.read(digest)
    except Exception as exc:
        print(type(exc).__name__, "forked" in str(exc), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(content.read(digest))
"""


@pytest.mark.usefixtures("s3")
def test_a_forked_child_gets_an_error_and_does_not_hang():
    """The connection's threads stay with the parent; the child's error says so."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKED], check=True, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.splitlines() == ["ContentAccessError True", "b'x'"]


@pytest.mark.usefixtures("s3")
def test_threads_may_share_one():
    """Threads that put and read through one object all succeed."""
    content, wrong = ObjectContent("s3://bucket"), []

    def work(name: int) -> None:
        for number in range(10):
            data = f"{name % 2} {number}".encode() * 2000
            if content.read(content.put(data)[0]) != data:
                wrong.append((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
