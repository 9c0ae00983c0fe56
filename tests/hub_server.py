"""A small Hugging Face Hub on this machine, for the real client: `HF_ENDPOINT=hub.endpoint`, `HF_HUB_DISABLE_XET=1`.

It keeps repositories, branches and commits in memory and knows what the client calls to push and load models and
datasets. Faults are ordered through `HubServer.fail` and `HubServer.cut_uploads`.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml


LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pt", ".arrow", ".tar", ".wav")
USER = "tester"
WRITE_TOKEN = "hf_write_0123456789"
READ_TOKEN = "hf_read_0123456789"
REPO = r"(?P<name>[\w.-]+/[\w.-]+)"


@dataclass
class Blob:
    data: bytes
    is_lfs: bool

    @property
    def oid(self) -> str:
        """The id by which git knows it."""
        content = self.pointer if self.is_lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return text.encode()


@dataclass
class Commit:
    files: dict[str, Blob]
    message: str


@dataclass
class Repo:
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, Blob], message: str) -> str:
        text = f"{len(self.commits)} {message} {sorted((path, blob.sha256) for path, blob in files.items())}"
        commit_hash = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit_hash] = Commit(files, message)
        self.branches[branch] = commit_hash
        return commit_hash


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None):
        self.status, self.message, self.code = status, message, code


class HubServer:
    """
    `with HubServer() as hub:` runs it.

    Attributes:
        endpoint: its address.
        repos: ("model", "dataset" or "space", name) -> repository.
        requests: "METHOD /path" of each call so far.
        cut_uploads: how many uploads of LFS files to cut off in the middle from now on.
        cut_calls: cut off calls "METHOD /path" that match this, if it is not None.
    """

    def __init__(self):
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut_uploads = 0
        self.cut_calls: str | None = None
        self.lock = threading.RLock()
        self._faults: list[tuple[str, int, str]] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail(self, pattern: str, status: int, message: str) -> None:
        """Answer calls "METHOD /path" that match from now on with an error."""
        self._faults.append((pattern, status, message))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()
        self.cut_uploads, self.cut_calls = 0, None

    def add_repo(self, name: str, kind: str = "model", private: bool = False) -> Repo:
        """A repository with nothing in it but what the Hub puts there."""
        repo = self.repos[kind, name] = Repo(private)
        repo.add("main", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit")
        return repo

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.repos[kind, name]

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Path -> content in a revision."""
        repo = self.repo(name, kind)
        return {path: blob.data for path, blob in repo.commits[repo.branches.get(revision, revision)].files.items()}

    def check_faults(self, call: str) -> None:
        self.requests.append(call)
        for pattern, status, message in self._faults:
            if re.search(pattern, call):
                raise Refusal(status, message)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    routes = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/repos/create", "create_repo"),
        ("POST", rf"/api/(?P<kind>\w+)s/{REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/api/(?P<kind>\w+)s/{REPO}/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", rf"/api/(?P<kind>\w+)s/{REPO}/branch/(?P<revision>[^/]+)", "create_branch"),
        ("POST", rf"/api/(?P<kind>\w+)s/{REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
        ("GET", rf"/api/(?P<kind>\w+)s/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "tree"),
        ("GET", rf"/api/(?P<kind>\w+)s/{REPO}/refs", "refs"),
        ("GET", rf"/api/(?P<kind>\w+)s/{REPO}(?:/revision/(?P<revision>[^/]+))?", "info"),
        ("POST", rf"/(?:datasets/|spaces/)?{REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("GET", rf"/(?P<kind>datasets/|spaces/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("HEAD", rf"/(?P<kind>datasets/|spaces/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    )

    def log_message(self, *_) -> None:
        pass

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.body = b""
        try:
            if self.hub.cut_calls is not None and re.search(self.hub.cut_calls, f"{self.command} {url.path}"):
                self._cut()
                return
            for method, pattern, action in self.routes:
                match = re.fullmatch(pattern, url.path)
                if match and method == self.command:
                    if action == "lfs_put" and self.hub.cut_uploads:
                        self.hub.cut_uploads -= 1
                        self._cut()
                        return
                    self._read_body()
                    self.hub.check_faults(f"{self.command} {url.path}")
                    groups = match.groupdict()
                    if "kind" in groups:
                        groups["kind"] = (groups["kind"] or "model").rstrip("s/")
                    with self.hub.lock:
                        getattr(self, action)(**{name: value and unquote(value) for name, value in groups.items()})
                    return
            self._read_body()
            self.hub.check_faults(f"{self.command} {url.path}")
            raise Refusal(404, f"This hub knows nothing of {self.command} {url.path}")
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._answer({"error": refusal.message}, refusal.status, headers)

    do_GET = do_POST = do_PUT = do_HEAD = _dispatch

    def _read_body(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _cut(self) -> None:
        self.hub.requests.append(f"CUT {self.path}")
        self.rfile.read(100)
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _answer(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _check_may_write(self) -> None:
        token = self._token()
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        if token not in (READ_TOKEN, WRITE_TOKEN):
            raise Refusal(401, "Invalid credentials in Authorization header")
        if token == READ_TOKEN:
            raise Refusal(403, "You don't have the rights to do this: the token is for reading only")

    def _find(self, kind: str, name: str, revision: str | None = None) -> tuple[Repo, str]:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self._token() != WRITE_TOKEN):
            raise Refusal(401 if self._token() is None else 404, "Repository not found", "RepoNotFound")
        revision = revision or "main"
        commit_hash = repo.branches.get(revision, revision)
        if commit_hash not in repo.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repo, commit_hash

    def whoami(self) -> None:
        if self._token() not in (READ_TOKEN, WRITE_TOKEN):
            raise Refusal(401, "Invalid credentials in Authorization header")
        role = "write" if self._token() == WRITE_TOKEN else "read"
        self._answer({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": role}}})

    def validate_yaml(self) -> None:
        """Some of what the Hub demands of a card's metadata."""
        block = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        data = yaml.safe_load(block[1]) if block else {}
        names = [data.get(key) or [] for key in ("base_model", "datasets")]
        names = [name for value in names for name in ([value] if isinstance(value, str) else value)]
        errors = [f"{name!r} is no repository" for name in names if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)]
        for model in data.get("model-index", []):
            if not model.get("name"):
                errors.append("model-index: a name is missing")
            for result in model.get("results", []):
                places = (("task", "type"), ("dataset", "name"), ("dataset", "type"))
                errors += [f"{key}.{part} is missing" for key, part in places if not result.get(key, {}).get(part)]
                for metric in result.get("metrics", []):
                    if not metric.get("type") or not isinstance(metric.get("value"), int | float):
                        errors.append(f"{metric} is no metric")
        answer = {"errors": [{"message": error} for error in errors], "warnings": []}
        self._answer(answer, 400 if errors else 200)

    def create_repo(self) -> None:
        self._check_may_write()
        request = json.loads(self.body)
        name = f"{request.get('organization') or USER}/{request['name']}"
        kind = request.get("type", "model")
        url = f"{self.hub.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{name}"
        if not name.startswith(f"{USER}/"):
            raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{name}"')
        if (kind, name) in self.hub.repos:
            self._answer({"error": f"You already created this {kind} repo", "url": url}, 409)
            return
        is_private = request.get("visibility") == "private" or request.get("private", False)
        self.hub.add_repo(name, kind, is_private)
        self._answer({"url": url, "name": name, "id": name})

    def create_branch(self, kind: str, name: str, revision: str) -> None:
        self._check_may_write()
        repo, start = self._find(kind, name, json.loads(self.body or b"{}").get("startingPoint"))
        if revision in repo.branches:
            raise Refusal(409, f"Reference already exists: refs/heads/{revision}")
        repo.branches[revision] = start
        self._answer({})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        self._check_may_write()
        repo, commit_hash = self._find(kind, name, revision)
        there = repo.commits[commit_hash].files
        self._answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                        "shouldIgnore": False,
                        "oid": there[file["path"]].oid if file["path"] in there else None,
                    }
                    for file in json.loads(self.body)["files"]
                ]
            }
        )

    def lfs_batch(self, name: str) -> None:
        self._check_may_write()
        objects = []
        for entry in json.loads(self.body)["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self.hub.lfs:
                answer["actions"] = {"upload": {"href": f"{self.hub.endpoint}/lfs/{entry['oid']}"}}
            objects.append(answer)
        self._answer({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The content does not match its hash")
        self.hub.lfs[oid] = self.body
        self._answer(b"")

    def commit(self, kind: str, name: str, revision: str) -> None:
        self._check_may_write()
        repo, commit_hash = self._find(kind, name, revision)
        if revision not in repo.branches:
            raise Refusal(400, f"{revision} is no branch")
        files, message = dict(repo.commits[commit_hash].files), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", commit_hash) != commit_hash:
                    raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif entry["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise Refusal(400, f"Your push was rejected: the LFS object of {value['path']} is missing")
                files[value["path"]] = Blob(self.hub.lfs[value["oid"]], True)
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            elif entry["key"] == "deletedFolder":
                files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
        commit_hash = repo.add(revision, files, message)
        prefix = "" if kind == "model" else f"{kind}s/"
        url = f"{self.hub.endpoint}/{prefix}{name}/commit/{commit_hash}"
        self._answer({"success": True, "commitOid": commit_hash, "commitUrl": url})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        repo, commit_hash = self._find(kind, name, revision)
        files = repo.commits[commit_hash].files
        self._answer(
            {
                "id": name,
                "modelId": name,
                "sha": commit_hash,
                "private": repo.private,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(files)],
            }
        )

    def refs(self, kind: str, name: str) -> None:
        repo, _ = self._find(kind, name)
        branches = [
            {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": commit_hash}
            for branch, commit_hash in repo.branches.items()
        ]
        self._answer({"branches": branches, "tags": [], "converts": []})

    def _entries(self, files: dict[str, Blob]) -> dict[str, dict]:
        """Path -> what the API tells of a file or folder."""
        entries = {}
        for path, blob in sorted(files.items()):
            for end in [match.start() for match in re.finditer("/", path)]:
                oid = hashlib.sha1(path[:end].encode()).hexdigest()
                entries[path[:end]] = {"type": "directory", "path": path[:end], "oid": oid, "size": 0}
            entries[path] = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.data)}
            if blob.is_lfs:
                size, pointer_size = len(blob.data), len(blob.pointer)
                entries[path]["lfs"] = {"oid": blob.sha256, "size": size, "pointerSize": pointer_size}
        last = {"id": "0" * 40, "title": "", "date": "2026-01-01T00:00:00.000Z"}
        return {path: {**entry, "lastCommit": last} for path, entry in entries.items()}

    def tree(self, kind: str, name: str, revision: str, path: str | None) -> None:
        repo, commit_hash = self._find(kind, name, revision)
        entries = self._entries(repo.commits[commit_hash].files)
        prefix = f"{path}/" if path else ""
        inside = [entry for name, entry in entries.items() if name.startswith(prefix) and name != path]
        if path and not inside:
            raise Refusal(404, f"{path} does not exist", "EntryNotFound")
        if self.query.get("recursive", ["False"])[0].lower() != "true":
            inside = [entry for entry in inside if "/" not in entry["path"][len(prefix) :]]
        self._answer(inside)

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repo, commit_hash = self._find(kind, name, revision)
        entries = self._entries(repo.commits[commit_hash].files)
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode())["paths"]
        self._answer([entries[path] for path in paths if path in entries])

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repo, commit_hash = self._find(kind, name, revision)
        blob = repo.commits[commit_hash].files.get(path)
        if blob is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{blob.oid}"',
            "X-Repo-Commit": commit_hash,
            "Accept-Ranges": "bytes",
        }
        if blob.is_lfs:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        data, status = blob.data, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        self._answer(data, status, headers)
