"""The prediction server against Cog's own, side by side in one run.

    python bench/serve.py [NAME...] [--rounds 5] [--seconds 3] [--json] [--work FOLDER]

Needs `wrk`, a Python package index, and a Python that this release pins a server for.  Both servers run on that Python,
with the same model and schema, and answer in turns, so that a busy machine is equally busy for both.  A ratio over 1
means that ours is better; of each measurement the median of the rounds' ratios counts.

    hello     predictions per second, one keep-alive connection, `run(text) -> str`      at least 1.3
    async     the same, eight connections, an async model with `concurrent(max=8)`       at least 1.3
    input     predictions per second with 10 MB in a data URL                            at least 1.3
    output    files of 100 MB per second, sent as a data URL                             at least 1.3
    memory    peak memory of all processes of a server that sent such a file             at least 1.3
    start     from the start of the process to READY                                     at least 1.0

Of the first two also the processor time of a prediction is shown: on a machine that does other things as well, rates
say who is scheduled, and this says what it costs.  `COGSMITH_BENCH_RUNTIME` names another `runtime/` folder to measure.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = Path(os.environ.get("COGSMITH_BENCH_RUNTIME", ROOT / "runtime"))
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
BARS = {"hello": 1.3, "async": 1.3, "input": 1.3, "output": 1.3, "memory": 1.3, "start": 1.0}
PATIENCE = 120

MODELS = {
    "hello": (
        {"text": {"type": "string"}},
        """
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return "hello " + text
""",
    ),
    "async": (
        {"text": {"type": "string"}},
        """
from cog import BaseRunner, concurrent
class Runner(BaseRunner):
    @concurrent(max=8)
    async def run(self, text: str) -> str:
        return "hello " + text
""",
    ),
    "input": (
        {"file": {"type": "string", "format": "uri"}},
        """
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path) -> int:
        return file.stat().st_size
""",
    ),
    "output": (
        {"megabytes": {"type": "integer"}},
        """
import os, tempfile
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, megabytes: int) -> Path:
        number, path = tempfile.mkstemp(suffix=".bin")
        block = os.urandom(1 << 20)
        for _ in range(megabytes):
            os.write(number, block)
        os.close(number)
        return Path(path)
""",
    ),
}

POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"input":{"text":"world"}}'
"""


class Kind:
    """One of the two servers: its name, its Python, what its environment has besides."""

    def __init__(self, name: str, python: Path, environment: dict[str, str]) -> None:
        self.name, self.python, self.environment = name, python, environment


class Server:
    """A server process on a port of its own."""

    def __init__(self, kind: Kind, *, project: Path, temporary: Path) -> None:
        self.kind = kind
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        environment = {
            "PATH": f"{kind.python.parent}:{os.environ['PATH']}",  # upstream starts its worker as `python`
            "HOME": os.environ.get("HOME", "/"),
            "PORT": str(self.port),
            "TMPDIR": str(temporary),
            "COG_PREDICT_TYPE_STUB": "run.py:Runner",
            "COG_LOG_LEVEL": "warning",
            **({"COG_MAX_CONCURRENCY": "8"} if project.name == "async" else {}),
            **kind.environment,
        }
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [kind.python, "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=project, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait(self) -> float:
        """Until READY; the seconds since the start."""
        while True:
            with contextlib.suppress(OSError, ValueError):
                if self.request("GET", "/health-check")["status"] == "READY":
                    return time.perf_counter() - self.began
            if self.process.poll() is not None or time.perf_counter() > self.began + PATIENCE:
                sys.exit(f"the server does not start: {self.process.args}")
            time.sleep(0.004)

    def request(self, method: str, path: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            return json.loads(connection.getresponse().read())

    def processes(self) -> list[Path]:
        """All its processes, in /proc."""
        found, pending = [], [self.process.pid]
        while pending:
            found.append(Path(f"/proc/{pending.pop()}"))
            with contextlib.suppress(OSError):
                for task in (found[-1] / "task").iterdir():
                    pending += map(int, (task / "children").read_text().split())
        return found

    def peak(self) -> int:
        """Bytes of memory at the worst of times, of all processes together."""
        statuses = [(process / "status").read_text() for process in self.processes()]
        return sum(1024 * int(status.partition("VmHWM:")[2].split()[0]) for status in statuses)

    def processor(self) -> float:
        """Seconds of processor time so far, of all processes together."""
        fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in self.processes()]
        return sum(int(ticks) for one in fields for ticks in one[11:13]) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Bench:
    def __init__(self, work: Path, *, seconds: float) -> None:
        self.work, self.seconds = work, seconds
        self.costs: dict[str, list[float]] = {"ours": [], "upstream": []}
        """Milliseconds of processor time for a prediction; a busy machine does not change them much."""
        self.kinds = (Kind("ours", *self._ours()), Kind("upstream", self._upstream(), {}))
        for name, (properties, source) in MODELS.items():
            project = work / "models" / name
            (project / ".cog").mkdir(parents=True, exist_ok=True)
            (project / "run.py").write_text(source)
            (project / ".cog/openapi_schema.json").write_text(json.dumps(_document(properties)))
        (work / "post.lua").write_text(POST)

    def _ours(self) -> tuple[Path, dict[str, str]]:
        """The layout of an image: the model's environment, the SDK beside it, the server's pinned wheels."""
        pins = json.loads((ROOT / "builder/runtime_pins.json").read_text())["pins"][MINOR]
        pinned = pins["arm64" if os.uname().machine == "aarch64" else "amd64"]
        lines = "".join(f"{pin['name']}=={pin['version']} --hash=sha256:{pin['sha256']}\n" for pin in pinned)
        self.work.mkdir(parents=True, exist_ok=True)
        packages = self.work / "server"
        if not packages.is_dir() or (self.work / "server.txt").read_text() != lines:
            shutil.rmtree(packages, ignore_errors=True)
            (self.work / "server.txt").write_text(lines)
            _run(
                sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps",
                "--only-binary", ":all:", "--compile-bytecode", "--python", sys.executable, "--target", packages,
                "-r", self.work / "server.txt",
            )  # fmt: skip
        base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        shutil.rmtree(self.work / "ours", ignore_errors=True)
        site = self.work / f"ours/lib/python{MINOR}/site-packages"
        site.mkdir(parents=True)
        (site / "cogsmith.pth").write_text(f"{RUNTIME}\n")
        (self.work / "ours/bin").mkdir()
        (self.work / "ours/bin/python").symlink_to(base)
        (self.work / "ours/pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = true\n")
        return self.work / "ours/bin/python", {"COGSMITH_SERVER_PATH": str(packages)}

    def _upstream(self) -> Path:
        python = self.work / "upstream/bin/python"
        if not python.exists():
            _run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, self.work / "upstream")
            packages = ("cog", "coglet")
            _run(
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                python,
                *packages,
            )
        return python

    @contextlib.contextmanager
    def pair(self, name: str) -> Iterator[tuple[Server, ...]]:
        servers = tuple(self.server(kind, name) for kind in self.kinds)
        try:
            for server in servers:
                server.wait()
            yield servers
        finally:
            for server in servers:
                server.end()

    def server(self, kind: Kind, name: str) -> Server:
        temporary = self.work / "tmp" / kind.name
        temporary.mkdir(parents=True, exist_ok=True)
        return Server(kind, project=self.work / "models" / name, temporary=temporary)

    def wrk(self, server: Server, connections: int) -> float:
        before = server.processor()
        text = _run(
            "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(self.seconds))}s", "-s", self.work / "post.lua",
            f"http://127.0.0.1:{server.port}/predictions",
        )  # fmt: skip
        refused = int((text.partition("Non-2xx or 3xx responses:")[2].split() or ["0"])[0])
        if (refused and server.kind is self.kinds[0]) or "Socket errors" in text:
            sys.exit(text)
        # Upstream answers a little before it frees the slot, and refuses a quick next request with 409.
        rate, requests = (
            float(text.partition("Requests/sec:")[2].split()[0]),
            int(text.partition(" requests in ")[0].split()[-1]),
        )
        self.costs[server.kind.name].append((server.processor() - before) / (requests - refused) * 1000)
        return rate * (1 - refused / requests)

    def inputs(self, server: Server) -> float:
        url = "data:application/octet-stream;base64," + base64.b64encode(os.urandom(10_000_000)).decode()
        body = json.dumps({"input": {"file": url}}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        count, began = 0, time.perf_counter()
        with contextlib.closing(connection):
            while (spent := time.perf_counter() - began) < self.seconds or not count:
                connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
                answer = json.loads(connection.getresponse().read())
                assert answer["output"] == 10_000_000, answer
                count += 1
        return count / spent

    def outputs(self, server: Server) -> float:
        buffer = memoryview(bytearray(1 << 20))
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            body = b'{"input":{"megabytes":100}}'
            connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
            response, size = connection.getresponse(), 0
            while count := response.readinto(buffer):
                size += count
        assert size > 100 * (1 << 20) * 4 // 3, size
        return 1 / (time.perf_counter() - began)

    def alternating(self, name: str, rounds: int, measure: Callable[[Server], float]) -> list[tuple[float, ...]]:
        with self.pair(name) as servers:
            for server in servers:
                measure(server)  # warm
            return [tuple(measure(server) for server in servers) for _ in range(rounds)]

    def memory(self, _: int) -> list[tuple[float, ...]]:
        with self.pair("output") as servers:
            for server in servers:
                self.outputs(server)
            return [tuple(server.peak() / 1e6 for server in servers)]

    def start(self, rounds: int) -> list[tuple[float, ...]]:
        def once(kind: Kind) -> float:
            server = self.server(kind, "hello")
            try:
                return server.wait() * 1000
            finally:
                server.end()

        for kind in self.kinds:
            once(kind)
        return [tuple(once(kind) for kind in self.kinds) for _ in range(2 * rounds + 1)]

    def measure(self, name: str, rounds: int) -> list[tuple[float, ...]]:
        if name == "memory":
            return self.memory(rounds)
        if name == "start":
            return self.start(rounds)
        how: dict[str, Callable[[Server], float]] = {
            "hello": lambda server: self.wrk(server, 1),
            "async": lambda server: self.wrk(server, 8),
            "input": self.inputs,
            "output": self.outputs,
        }
        return self.alternating(name, rounds, how[name])


UNITS = {"hello": "/s", "async": "/s", "input": "/s", "output": "/s", "memory": " MB", "start": " ms"}


def _document(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "title": "Input", "properties": properties, "required": list(properties)}
    schemas = {"Input": schema, "Output": {"title": "Output"}}
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {},
        "components": {"schemas": schemas},
    }


def _run(*argv: str | Path) -> str:
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BARS, []], help="what to measure; everything")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=Path, help="a folder to keep the two environments in")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is needed")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench((given.work or Path(scratch)).resolve(), seconds=given.seconds)
        report: dict[str, dict[str, Any]] = {}
        for name in given.names or BARS:
            rows = bench.measure(name, given.rounds)
            lower = name in ("memory", "start")
            ratios = [theirs / ours if lower else ours / theirs for ours, theirs in rows]
            ratio = statistics.median(ratios)
            ours, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
            report[name] = {"ours": ours, "upstream": theirs, "ratio": ratio, "bar": BARS[name]}
            costs = {kind: statistics.median(times) for kind, times in bench.costs.items() if times}
            for times in bench.costs.values():
                times.clear()
            if costs:
                report[name]["processor_ms"] = costs
            if not given.json:
                unit, spread = UNITS[name], f"{min(ratios):.2f} to {max(ratios):.2f}"
                verdict = "ok" if ratio >= BARS[name] else "BELOW"
                print(
                    f"{name:8} ours {ours:9.1f}{unit:3}  cog {theirs:9.1f}{unit:3}  ratio {ratio:5.2f}  ({spread})"
                    f"  bar {BARS[name]}  {verdict}"
                    + (f"  processor {costs['ours']:.2f} against {costs['upstream']:.2f} ms" if costs else ""),
                    flush=True,
                )
    if given.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
