"""What is asked of both servers.  A case gives something JSON-like that is compared field by field."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from two_servers import PATIENCE, Side

Ask = Callable[[Side], Any]


@dataclasses.dataclass(frozen=True)
class Case:
    model: str
    name: str
    ask: Ask

    @property
    def id(self) -> str:
        return f"{self.model}: {self.name}"


CASES: list[Case] = []


def case(model: str, name: str) -> Callable[[Ask], Ask]:
    def add(ask: Ask) -> Ask:
        CASES.append(Case(model, name, ask))
        return ask

    return add


def asked(model: str, name: str, /, **given: Any) -> None:
    """A prediction with this input."""
    CASES.append(Case(model, name, lambda side: side.predict(**given)))


def sent(model: str, name: str, method: str, path: str, body: Any = None, /, **headers: str) -> None:
    """A request with a JSON body."""
    CASES.append(Case(model, name, lambda side: side.send(method, path, body, **headers)))


def raw(model: str, name: str, method: str, path: str, body: bytes | None = None, kind: str | None = None) -> None:
    """A request as it is."""
    headers = {"Content-Type": kind} if kind else {}
    CASES.append(Case(model, name, lambda side: side.request(method, path, body, headers)))


def data_url(content: bytes, kind: str = "text/plain") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pause_until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError("never happened")


# Inputs: types, defaults, constraints.
asked("types", "defaults", text="x")
asked("types", "all given", text="é", count=10, ratio=1.25, flag=True, colour="green", size=2, code="abc")
asked("types", "integer for a number", text="x", ratio=2)
asked("types", "integral float for an integer", text="x", count=5.0)
asked("types", "unknown key", text="x", other=1)
asked("types", "missing")
asked("types", "wrong type of text", text=5)
asked("types", "string for an integer", text="x", count="5")
asked("types", "fraction for an integer", text="x", count=1.5)
asked("types", "boolean for an integer", text="x", count=True)
asked("types", "integer for a boolean", text="x", flag=1)
asked("types", "above the maximum", text="x", count=99)
asked("types", "below the minimum", text="x", count=-1, ratio=-0.5)
asked("types", "not a choice", text="x", colour="blue")
asked("types", "not a choice of numbers", text="x", size=3)
asked("types", "against the pattern", text="x", code="xyz")
asked("types", "too short", text="x", code="a")
asked("types", "too long", text="x", code="a" * 9)
asked("types", "null for a string", text=None)
asked("types", "two problems", text=1, count="x")
asked("types", "empty string", text="")
asked("types", "quotes and control characters", text='"\\\u0001\u2028')
asked("types", "half a surrogate pair", text="\ud800")

# Requests: bodies, headers, methods, routes.
sent("types", "no input", "POST", "/predictions", {})
sent("types", "input null", "POST", "/predictions", {"input": None})
sent("types", "input is a list", "POST", "/predictions", {"input": [1]})
sent("types", "body is a list", "POST", "/predictions", [1])
sent("types", "id is a number", "POST", "/predictions", {"id": 5, "input": {"text": "x"}})
sent("types", "own id", "POST", "/predictions", {"id": "mine", "input": {"text": "x"}})
sent("types", "webhook is a number", "POST", "/predictions", {"input": {"text": "x"}, "webhook": 5})
sent("types", "unknown event", "POST", "/predictions", {"input": {"text": "x"}, "webhook_events_filter": ["never"]})
sent("types", "context is a list", "POST", "/predictions", {"input": {"text": "x"}, "context": [1]})
sent("types", "context of numbers", "POST", "/predictions", {"input": {"text": "x"}, "context": {"a": 1}})
sent(
    "types", "old keys", "POST", "/predictions", {"input": {"text": "x"}, "output_file_prefix": "p", "created_at": "t"}
)
sent("types", "suffix of JSON", "POST", "/predictions", {"input": {"text": "x"}}, Content_Type="application/vnd.x+json")
sent(
    "types", "charset", "POST", "/predictions", {"input": {"text": "x"}}, Content_Type="application/json; charset=utf-8"
)
sent("types", "put", "PUT", "/predictions/p1", {"input": {"text": "x"}})
sent("types", "put, same id", "PUT", "/predictions/p1", {"id": "p1", "input": {"text": "x"}})
sent("types", "put, other id", "PUT", "/predictions/p1", {"id": "p2", "input": {"text": "x"}})
sent("types", "put, id with a slash", "PUT", "/predictions/a%2Fb", {"input": {"text": "x"}})
sent("types", "events not supported", "POST", "/predictions", {"input": {"text": "x"}}, Accept="text/event-stream")
sent("types", "cancel unknown", "POST", "/predictions/nobody/cancel", {})
sent("types", "prefer with wait", "POST", "/predictions", {"input": {"text": "x"}}, Prefer="wait=5")
sent(
    "types",
    "prefer respond-async, wait",
    "PUT",
    "/predictions/w1",
    {"input": {"text": "x"}},
    Prefer="respond-async, wait=5",
)
sent("types", "prefer something else", "POST", "/predictions", {"input": {"text": "x"}}, Prefer="return=minimal")
raw("types", "no content type", "POST", "/predictions", b'{"input":{"text":"x"}}')
raw("types", "text", "POST", "/predictions", b'{"input":{"text":"x"}}', "text/plain")
raw("types", "truncated JSON", "POST", "/predictions", b'{"input":{"te', "application/json")
raw("types", "empty body", "POST", "/predictions", b"", "application/json")
raw("types", "NaN", "POST", "/predictions", b'{"input":{"text":"x","ratio":NaN}}', "application/json")
raw("types", "invalid UTF-8", "POST", "/predictions", b'{"input":{"text":"\xff"}}', "application/json")
raw("types", "key twice", "POST", "/predictions", b'{"input":{"text":"a","text":"b"}}', "application/json")
raw("types", "very nested", "POST", "/predictions", b'{"input":' + b"[" * 500 + b"]" * 500 + b"}", "application/json")
raw("types", "root", "GET", "/")
raw("types", "document", "GET", "/openapi.json")
raw("types", "docs", "GET", "/docs")
raw("types", "nowhere", "GET", "/nowhere")
raw("types", "wrong method", "DELETE", "/predictions")
raw("types", "get of predictions", "GET", "/predictions")
raw("types", "get of an unknown prediction", "GET", "/predictions/nobody")
raw("types", "slash at the end", "POST", "/predictions/", b'{"input":{"text":"x"}}', "application/json")
raw("types", "head of the root", "HEAD", "/")
sent("types", "training of a model without", "POST", "/trainings", {"input": {"text": "x"}})


@case("types", "health")
def health(side: Side) -> Any:
    answer = side.request("GET", "/health-check")
    answer["body"]["setup"]["logs"] = bool(answer["body"]["setup"]["logs"])
    version = answer["body"].pop("version")
    return {**answer, "python": version["python"], "sdk": isinstance(version["python_sdk"], str)}


@case("types", "a body of 101 MiB")
def too_long(side: Side) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=PATIENCE)
    connection.putrequest("POST", "/predictions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(101 << 20))
    connection.endheaders()
    with contextlib.suppress(OSError):  # who answers early does not read it all
        for _ in range(101):
            connection.send(b" " * (1 << 20))
    answer = connection.getresponse()
    connection.close()
    return {"status": answer.status}


@case("types", "a chunked body")
def chunked(side: Side) -> Any:
    body = iter([b'{"input":', b'{"text":"x"}}'])
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=PATIENCE)
    connection.request("POST", "/predictions", body, {"Content-Type": "application/json"}, encode_chunked=True)
    answer = connection.getresponse()
    found = {"status": answer.status, "body": json.loads(answer.read())}
    connection.close()
    return found


# Outputs of every shape.
for kind in (
    "none",
    "nested",
    "tuple",
    "set",
    "date",
    "enum",
    "big",
    "huge",
    "float",
    "nan",
    "bytes",
    "object",
    "empty",
):
    asked("shapes", kind, kind=kind)
for kind in ("stderr", "partial", "return", "iterator"):
    asked("shapes", kind, kind=kind)
asked("shapes", "lists and optional, defaults", kind="inputs")
asked("shapes", "lists and optional", kind="inputs", tags=["x", "y"], numbers=[3], maybe=4, word="w")
asked("shapes", "empty list", kind="inputs", tags=[])
asked("shapes", "wrong item", kind="inputs", tags=["x", 5])
asked("shapes", "not a list", kind="inputs", tags="x")
asked("shapes", "explicit null", kind="inputs", maybe=None, word=None)
asked("shapes", "object input", kind="nested", options={"a": {"b": [1]}})


@case("shapes", "long")
def long(side: Side) -> Any:
    answer = side.predict(kind="long")
    answer["body"]["output"] = len(answer["body"]["output"])
    return answer


asked("structure", "model", text="abc")

# Errors.
for how in ("value", "mine", "empty", "exit", "keyboard", "fine"):
    asked("errors", how, how=how)
asked("errors", "fine after all that", how="fine")

# Iterators, as one answer and as events.
asked("generator", "three", n=3)
asked("generator", "none", n=0)
asked("generator", "fails", n=2, fail=True)
sent("generator", "events", "POST", "/predictions", {"id": "s1", "input": {"n": 3}}, Accept="text/event-stream")
sent(
    "generator",
    "events of a failure",
    "POST",
    "/predictions",
    {"id": "s2", "input": {"n": 1, "fail": True}},
    Accept="text/event-stream",
)
sent("generator", "events, put", "PUT", "/predictions/s3", {"input": {"n": 1}}, Accept="text/event-stream")
sent("generator", "events of wrong input", "POST", "/predictions", {"input": {"n": "x"}}, Accept="text/event-stream")
asked("words", "concatenated", n=3)
asked("async", "three", n=3)
asked("async", "fails", n=1, fail=True)
sent("async", "events", "POST", "/predictions", {"id": "a1", "input": {"n": 2}}, Accept="text/event-stream")

# Files.
asked("files", "data URL", kind="read", file=data_url(b"hello"))
asked("files", "data URL of an image", kind="read", file=data_url(b"x", "image/png"))
asked("files", "data URL without base64", kind="read", file="data:text/plain,a%20b")
asked("files", "path", kind="type", file="/etc/hostname")
asked("files", "many", kind="many", many=[data_url(b"1"), data_url(b"2")])
asked("files", "malformed data URL", kind="read", file="data:text/plain;base64,@@@")
asked("files", "wrong type of file", kind="read", file=5)
for kind in ("text", "image", "unknown", "list", "bytesio", "stringio", "missing", "nested"):
    asked("files", f"output {kind}", kind=kind)


@case("files", "http")
def by_http(side: Side) -> Any:
    return side.predict(kind="read", file=f"http://127.0.0.1:{side.port}/nowhere")


# Scope: secrets, metrics, context.
asked("scope", "secret", secret="hush")
asked("scope", "no secret")
asked("scope", "metric incr", mode="incr", n=3)
asked("scope", "metric append", mode="append")
asked("scope", "metric of a bad name", name="a__b")
asked("scope", "metric of a reserved name", name="predict_time")
sent("scope", "context", "POST", "/predictions", {"input": {}, "context": {"b": "2", "a": "1"}})


# Trainings.
sent("training", "train", "POST", "/trainings", {"input": {"steps": 2}})
sent("training", "train by prediction", "POST", "/predictions", {"input": {"steps": 2}})
sent("training", "put", "PUT", "/trainings/t1", {"input": {"steps": 2}})
sent("training", "other id", "PUT", "/trainings/t1", {"id": "t2", "input": {"steps": 2}})
sent("training", "wrong", "POST", "/trainings", {"input": {"steps": 0}})
sent("training", "events", "POST", "/trainings", {"input": {"steps": 2}}, Accept="text/event-stream")
raw("training", "root", "GET", "/")

# Without a schema; setup that fails; health.
asked("no-schema", "anything", text="ab", n=2)
asked("no-schema", "missing")
asked("no-schema", "unknown", text="x", other=1)
raw("no-schema", "document", "GET", "/openapi.json")
asked("setup-fails", "prediction", text="x")


@case("setup-fails", "health")
def failed_setup(side: Side) -> Any:
    health = side.health()
    return {
        "status": health["status"],
        "setup": health["setup"]["status"],
        "printed": "in setup" in health["setup"]["logs"],
    }


@case("unhealthy", "health")
def unhealthy(side: Side) -> Any:
    health = side.health()
    return {name: health[name] for name in ("status", "user_healthcheck_error")}


asked("unhealthy", "prediction", text="x")


# Asynchronous predictions, webhooks, cancelling.
def hooked(model: str, name: str, events: list[str], /, **given: Any) -> None:
    def ask(side: Side) -> Any:
        path = f"/{name.replace(' ', '-')}"
        body = {"id": "h1", "input": given, "webhook": side.hooks.url(path), "webhook_events_filter": events}
        answer = side.send(
            "POST", "/predictions", body, Prefer="respond-async", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
        )
        return {"answer": answer, "hooks": side.hooks.ended(path, at_least=len(events))}

    CASES.append(Case(model, f"webhook, {name}", ask))


hooked("types", "start and end", ["start", "completed"], text="x")
hooked("types", "end alone", ["completed"], text="x")
hooked("errors", "of a failure", ["completed"], how="value")
hooked("generator", "of an iterator", ["start", "completed"], n=2)
hooked("generator", "of a failed iterator", ["completed"], n=2, fail=True)
hooked("files", "of a file", ["completed"], kind="text")


@case("types", "webhook of a prediction that is waited for")
def waited(side: Side) -> Any:
    body = {
        "id": "h2",
        "input": {"text": "x"},
        "webhook": side.hooks.url("/waited"),
        "webhook_events_filter": ["completed"],
    }
    return {"answer": side.send("POST", "/predictions", body), "hooks": side.hooks.ended("/waited", at_least=1)}


@case("types", "webhook that wants nothing")
def nothing(side: Side) -> Any:
    body = {"id": "h3", "input": {"text": "x"}, "webhook": side.hooks.url("/nothing"), "webhook_events_filter": []}
    answer = side.send("POST", "/predictions", body)
    time.sleep(0.1)
    return {"answer": answer, "hooks": side.hooks.now("/nothing")}


@case("types", "webhook that is no URL")
def no_url(side: Side) -> Any:
    return side.send("POST", "/predictions", {"input": {"text": "x"}, "webhook": "not a url"})


@case("generator", "webhook, output as it comes")
def outputs(side: Side) -> Any:
    body = {"id": "h4", "input": {"n": 3, "pause": 0.1}, "webhook": side.hooks.url("/outputs")}
    side.send("POST", "/predictions", {**body, "webhook_events_filter": ["output", "completed"]})
    hooks = [hook["body"] for hook in side.hooks.ended("/outputs", at_least=2)]
    return {"partial": [hook["output"] for hook in hooks[:-1]], "end": hooks[-1]["output"]}


def cancelled(model: str) -> None:
    @case(model, "cancel")
    def ask(side: Side) -> Any:
        path = f"/cancel-{model}"
        body = {
            "input": {"seconds": 20},
            "webhook": side.hooks.url(path),
            "webhook_events_filter": ["start", "completed"],
        }
        begun = side.send("PUT", "/predictions/c1", body, Prefer="respond-async")
        pause_until(lambda: side.hooks.now(path))
        busy = side.health()["status"]
        again = side.send("PUT", "/predictions/c1", body, Prefer="respond-async")
        again["body"]["logs"] = "<any>"  # it may have begun to print, or not
        refused = side.send("POST", "/predictions", {"input": {"seconds": 0}})
        accepted = side.send("POST", "/predictions/c1/cancel", {})
        end = side.hooks.ended(path, at_least=2)[-1]["body"]
        end["metrics"] = end["logs"] = "<any>"  # it may not have come to run
        pause_until(lambda: side.health()["status"] == "READY")
        late = side.send("POST", "/predictions/c1/cancel", {})
        return {
            "begun": begun, "busy": busy, "again": again, "refused": refused, "accepted": accepted, "end": end,
            "late": late, "next": side.predict(seconds=0),
        }  # fmt: skip


cancelled("slow")
cancelled("slow-async")


@case("slow", "client hangs up")
def hang_up(side: Side) -> Any:
    body = json.dumps({"input": {"seconds": 20}, "webhook": side.hooks.url("/hang-up")}).encode()
    with socket.create_connection(("127.0.0.1", side.port)) as client:
        head = "POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        client.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        pause_until(lambda: side.hooks.now("/hang-up"))
    end = side.hooks.ended("/hang-up", at_least=1)[-1]["body"]
    pause_until(lambda: side.health()["status"] == "READY")
    return {"status": end["status"]}


@case("crash", "crash, and what follows")
def crash(side: Side) -> Any:
    first = side.predict(crash=False)
    crashed = side.rested().predict(crash=True)
    health = side.wait("READY" if side.name == "ours" else "UNHEALTHY")
    return {"first": first, "crashed": crashed, "health": health["status"], "next": side.predict(crash=False)}
