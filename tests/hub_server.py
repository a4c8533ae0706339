"""A server with the few endpoints of the Hub that its library uses here, in a thread.

    create repo, create branch, model info, tree, resolve, validate-yaml, preupload, LFS, commit

Whatever ends in .safetensors or .onnx goes the way of large files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"
READ_ONLY = "hf_read"
LARGE = (".safetensors", ".onnx")


@dataclass
class Repository:
    """A repository.

    Args:
        private: whether a token is needed to read it.
        gated: whether reading has to be asked for.
        broken: status of every download; 0 is none.
        commits: files by path, of each commit.
        refs: commit of each branch and tag.
        messages: messages of the commits, in their order.
    """

    private: bool
    gated: bool = False
    broken: int = 0
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        self.messages.append(message)
        sha = hashlib.sha1(f"{len(self.messages)} {message}".encode()).hexdigest()
        self.commits[sha], self.refs[branch] = files, sha
        return sha

    def sha(self, revision: str) -> str | None:
        sha = self.refs.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class Hub:
    """The server's content and log.

    Args:
        repositories: repositories by owner/name.
        requests: method and path of each request.
        blobs: large files by SHA-256.
        url: address of the server.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Files of a revision."""
        repository = self.repositories[name]
        return repository.commits[repository.sha(revision) or ""]

    def change(self, name: str, **files: bytes | None) -> None:
        """Commit changed files by their names without folder, None for those to remove."""
        changed = dict(self.files(name))
        for path in list(changed):
            new = files.get(path.rpartition("/")[2].replace(".", "_"), changed[path])
            changed.pop(path)
            if new is not None:
                changed[path] = new
        self.repositories[name].commit("main", changed, "by hand")


class Refused(Exception):
    """A failure: status, code and text."""

    def __init__(self, status: int, code: str = "", text: str = "") -> None:
        self.status, self.code, self.text = status, code, text


class Handler(BaseHTTPRequestHandler):
    """Answers of the server."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait for an acknowledgement
    disable_nagle_algorithm = True
    hub: Hub

    def do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.chunked()
        try:
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method.split():
                    answer(self, **found.groupdict())
                    return
            raise Refused(404, text=f"no route {self.command} {path}")
        except Refused as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.text}
            self.answer(json.dumps({"error": error.text}).encode(), error.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def chunked(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().strip() or b"0", 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

    def log_message(self, format: str, *args: Any) -> None: ...

    def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any) -> None:
        self.answer(json.dumps(value).encode())

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def readable(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and self.token not in (TOKEN, READ_ONLY)):
            raise Refused(404 if self.token else 401, "RepoNotFound", "Repository not found")
        if repository.gated:
            raise Refused(403, "GatedRepo", "Access to this model is restricted")
        return repository

    def writable(self, name: str) -> Repository:
        if self.token != TOKEN:
            raise Refused(403 if self.token == READ_ONLY else 401, text="Write access needed")
        return self.readable(name)

    def sha(self, repository: Repository, revision: str) -> str:
        sha = repository.sha(revision)
        if sha is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    # Reading.

    def info(self, name: str, rev: str | None = None) -> None:
        repository = self.readable(name)
        sha = self.sha(repository, rev or "main")
        siblings = [{"rfilename": path} for path in repository.commits[sha]]
        facts = {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}
        self.json({**facts, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, name: str, rev: str) -> None:
        repository = self.readable(name)
        files = repository.commits[self.sha(repository, rev)]
        entries = []
        for path, data in files.items():
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
            entry["oid"] = git_hash(data)
            if path.endswith(LARGE):
                oid = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self.json(entries)

    def resolve(self, name: str, rev: str, path: str) -> None:
        repository = self.readable(name)
        sha = self.sha(repository, rev)
        data = repository.commits[sha].get(path)
        if repository.broken:
            raise Refused(repository.broken, text="it is broken")
        if data is None:
            raise Refused(404, "EntryNotFound", "Entry not found")
        large = path.endswith(LARGE)
        etag = hashlib.sha256(data).hexdigest() if large else git_hash(data)
        self.answer(data, headers={"ETag": f'"{etag}"', "X-Repo-Commit": sha})

    # Writing.

    def create(self) -> None:
        facts = json.loads(self.body)
        name = f"{facts['organization']}/{facts['name']}"
        if self.token != TOKEN:
            raise Refused(403 if self.token == READ_ONLY else 401, text="Write access needed")
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repositories:
            self.answer(json.dumps({"error": "it exists", "url": url}).encode(), 409)
            return
        private = facts.get("visibility") == "private" or bool(facts.get("private"))
        self.hub.repositories[name] = Repository(private)
        self.hub.repositories[name].commit("main", {".gitattributes": b"*.onnx\n"}, "initial")
        self.json({"url": url})

    def branch(self, name: str, branch: str) -> None:
        repository = self.writable(name)
        if branch in repository.refs:
            raise Refused(409, text="Reference already exists")
        repository.refs[branch] = repository.refs["main"]
        self.json({})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
        if "license: nonsense" in content:
            errors.append({"message": '"license" must be one of a list'})
        self.answer(json.dumps({"errors": errors, "warnings": []}).encode(), 400 if errors else 200)

    def preupload(self, name: str, rev: str) -> None:
        files = self.writable(name).commits[self.sha(self.writable(name), rev)]
        answers = []
        for entry in json.loads(self.body)["files"]:
            path, large = entry["path"], entry["path"].endswith(LARGE)
            facts = {"path": path, "shouldIgnore": False}
            facts["uploadMode"] = "lfs" if large else "regular"
            if path in files:
                data = files[path]
                facts["oid"] = hashlib.sha256(data).hexdigest() if large else git_hash(data)
            answers.append(facts)
        self.json({"files": answers})

    def batch(self, name: str) -> None:
        self.writable(name)
        objects = []
        for entry in json.loads(self.body)["objects"]:
            if entry["oid"] not in self.hub.blobs:
                upload = {"href": f"{self.hub.url}/upload/{entry['oid']}"}
                entry = entry | {"actions": {"upload": upload}}
            objects.append(entry)
        self.json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.blobs[oid] = self.body
        self.answer(b"")

    def commit(self, name: str, rev: str) -> None:
        repository = self.writable(name)
        parent = self.sha(repository, rev)
        files, header = dict(repository.commits[parent]), {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                del files[value["path"]]
        if header.get("parentCommit") not in (None, parent):
            raise Refused(412, text="A commit has happened since")
        sha = repository.commit(rev, files, header["summary"])
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self.json({"commitUrl": url, "commitOid": sha, "success": True})


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


NAME, REV = r"(?P<name>[^/]+/[^/]+)", r"(?P<rev>.+)"
ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", f"/api/models/{NAME}/preupload/{REV}", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/{REV}", Handler.commit),
    ("POST", f"/{NAME}\\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/upload/(?P<oid>[0-9a-f]{64})", Handler.upload),
    ("GET", f"/api/models/{NAME}/revision/{REV}", Handler.info),
    ("GET", f"/api/models/{NAME}/tree/{REV}", Handler.tree),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET HEAD", f"/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", Handler.resolve),
)


@contextmanager
def serve() -> Iterator[Hub]:
    """Run the server."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
