"""Finding, fetching and refusing data files. No test leaves this machine."""

import hashlib
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from causalkit.datasets import cache_directory, fetch, find_shipped
from causalkit.exceptions import DataNotFoundError

CONTENT = b"a,b\n1,2\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CAUSALKIT_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("CAUSALKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def origin(tmp_path):
    path = tmp_path / "origin.csv"
    path.write_bytes(CONTENT)
    return path


class CountingHandler(SimpleHTTPRequestHandler):
    requests_seen = 0

    def do_GET(self):
        type(self).requests_seen += 1
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(origin):
    handler = type("Handler", (CountingHandler,), {})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(origin.parent)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}", handler
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_fetch_downloads_once_and_then_reads_the_cache(server):
    url, handler = server
    first = fetch(f"{url}/origin.csv", sha256=DIGEST, filename="kept.csv")
    second = fetch(f"{url}/origin.csv", sha256=DIGEST.upper(), filename="kept.csv")
    assert first == second == cache_directory() / "kept.csv"
    assert first.read_bytes() == CONTENT
    assert handler.requests_seen == 1
    assert [path.name for path in cache_directory().iterdir()] == ["kept.csv"]


def test_fetch_prefers_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("CAUSALKIT_DATA", str(tmp_path))
    (tmp_path / "own.csv").write_bytes(CONTENT)
    assert fetch("https://127.0.0.1:1/none", sha256=DIGEST, filename="own.csv") == tmp_path / "own.csv"
    (tmp_path / "own.csv").write_bytes(b"changed")
    with pytest.raises(DataNotFoundError, match="unset CAUSALKIT_DATA"):
        fetch("https://127.0.0.1:1/none", sha256=DIGEST, filename="own.csv")
    assert (tmp_path / "own.csv").read_bytes() == b"changed"


def test_wrong_checksum_is_named_and_the_download_not_kept(origin):
    wrong = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DataNotFoundError, match="wrong checksum") as caught:
        fetch(origin.as_uri(), sha256=wrong, filename="kept.csv")
    assert wrong in str(caught.value) and DIGEST in str(caught.value)
    assert list(cache_directory().iterdir()) == []


def test_damaged_cache_entry_is_replaced_or_removed(origin):
    cache_directory().mkdir()
    entry = cache_directory() / "kept.csv"
    entry.write_bytes(b"damaged")
    assert fetch(origin.as_uri(), sha256=DIGEST, filename="kept.csv").read_bytes() == CONTENT
    entry.write_bytes(b"damaged")
    origin.write_bytes(b"damaged too")
    with pytest.raises(DataNotFoundError, match="wrong checksum"):
        fetch(origin.as_uri(), sha256=DIGEST, filename="kept.csv")
    assert not entry.exists()


@pytest.mark.parametrize("path", ["/missing.csv", None])
def test_unreachable_origin_says_where_it_looked_and_what_to_do(server, path):
    url = server[0] + path if path else "http://127.0.0.1:1/kept.csv"
    with pytest.raises(DataNotFoundError) as caught:
        fetch(url, sha256=DIGEST, filename="kept.csv", timeout=5)
    message = str(caught.value)
    for words in ("kept.csv", url, str(cache_directory()), "CAUSALKIT_DATA is not set", "Connect and try again"):
        assert words in message
    assert list(cache_directory().iterdir()) == []


def test_cache_that_cannot_be_written_is_the_named_error(monkeypatch, origin):
    monkeypatch.setenv("CAUSALKIT_CACHE", str(origin / "below_a_file"))
    with pytest.raises(DataNotFoundError, match="could not be downloaded"):
        fetch(origin.as_uri(), sha256=DIGEST, filename="kept.csv")


@pytest.mark.parametrize("filename", ["", "..", "../x.csv", "a/b.csv", "a\\b.csv", "c:x.csv"])
def test_filename_must_stay_in_its_folder(filename):
    with pytest.raises(ValueError, match="plain file name"):
        fetch("https://127.0.0.1:1/x", sha256=DIGEST, filename=filename)
    with pytest.raises(ValueError, match="plain file name"):
        find_shipped(filename)


def test_malformed_arguments():
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        fetch("https://127.0.0.1:1/x", sha256="abc", filename="x")
    with pytest.raises(ValueError, match="https, http or file"):
        fetch("ftp://127.0.0.1/x", sha256=DIGEST, filename="x")


def test_find_shipped_looks_into_the_override_first(monkeypatch, tmp_path):
    assert find_shipped("cora_edges.csv").stat().st_size > 10_000
    (tmp_path / "cora_edges.csv").write_bytes(b"source,target\n0,1\n")
    monkeypatch.setenv("CAUSALKIT_DATA", str(tmp_path))
    assert find_shipped("cora_edges.csv") == tmp_path / "cora_edges.csv"
    with pytest.raises(DataNotFoundError, match="Looked in") as caught:
        find_shipped("absent.csv")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/causalkit")),
        ("linux", {"HOME": "/h"}, Path("/h/.cache/causalkit")),
        ("darwin", {"HOME": "/h"}, Path("/h/Library/Caches/causalkit")),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/causalkit")),
    ],
)
def test_cache_directory_of_each_platform(monkeypatch, platform, variables, expected):
    for name in ("CAUSALKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_directory() == expected


def test_wheel_holds_the_shipped_data_and_no_other(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        prefix = "causalkit/datasets/data/"
        data = {name.removeprefix(prefix): archive.read(name) for name in names if name.startswith(prefix)}
    assert set(data) == {"README.md", "cora_edges.csv", "cora_nodes.csv"}
    assert data["cora_edges.csv"] == (ROOT / "datasets" / "cora_edges.csv").read_bytes()
    assert b"Copyright (c) 2016 Zhilin Yang" in data["README.md"]
    assert not [name for name in names if "income_map_9" in name or name.endswith((".gz", ".npz"))]
    code = "import sys; sys.path.insert(0, sys.argv[1]); from causalkit.datasets import *; import causalkit; "
    code += "assert sys.argv[1] in causalkit.__file__; print(len(load_cora().edges), find_shipped('cora_edges.csv'))"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    read = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "installed")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    assert read.stdout.split() == ["5278", str(tmp_path / "installed" / prefix / "cora_edges.csv")]
