"""Every intended difference between Cog's server and ours: the case, where in its answer, and why."""

from __future__ import annotations

VOLATILE = ("predict_time",)

EXTRA = {
    "created_at": "the OpenAPI document lists it",
    "started_at": "the OpenAPI document lists it",
    "completed_at": "the OpenAPI document lists it",
    "version": "the OpenAPI document lists it",
}
"""What every prediction has in our answers and webhooks and not in Cog's."""

WORDS = "the text for people is another; status and type are the same"
DOUBLED = "`Prediction failed:` and the like are said once"
KEPT = "logs, traceback and partial output of a failure are kept"
WHOLE = "an accepted prediction is shown with all its fields, as everywhere else"
NULLABLE = "null is a value of what the schema calls nullable"
CONVERTED = "a number has the type of its annotation"
WORKS = "can be sent, so it is"
ALIVE = "a worker that dies is replaced"
NOT_RUN = "the model did not run, so there is no time"
TRAINS = "a server in training mode takes the input of the training everywhere"
DISCOVERY = {"body.cog_version": "our version", "body.metrics_url": "metrics are ours alone"}


def _at(reason: str, *paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, reason)


_ACCEPTED = _at(WHOLE, "answer.body.logs", "answer.body.metrics")
_FAILED = {"body.error": DOUBLED, "body.logs": KEPT}
_PREDICTION = ("body.detail", "body.id", "body.status", "body.logs", "body.metrics", "body.output")

RACES: dict[str, dict[str, str]] = {
    "shapes: return": _at("Cog shows the end of another prediction's last line here, if it comes late", "body.logs"),
}
"""What Cog's server answers now one way, now the other."""

DIFFERENCES: dict[str, dict[str, str]] = {
    # Inputs.
    "types: integer for a number": _at(CONVERTED, "body.output"),
    "types: integral float for an integer": _at(CONVERTED, "body.output"),
    "types: two problems": _at(
        "problems come in the order of the input, not by name",
        "body.detail.0.loc.2", "body.detail.0.msg", "body.detail.1.loc.2", "body.detail.1.msg",
    ),
    "types: half a surrogate pair": _at("the escape is JSON, and the model is asked", "status", "type", "body"),
    "types: very nested": _at("depth alone is no syntax error; it is the wrong type", "status", "type", "body"),
    "shapes: explicit null": _at(NULLABLE, "status", *_PREDICTION),
    "no-schema: missing": {"body.error": "said before the model is called", "body.metrics.predict_time": NOT_RUN},
    "no-schema: unknown": _FAILED,
    # Malformed requests.
    "types: body is a list": _at(WORDS, "body"),
    "types: id is a number": _at(WORDS, "body"),
    "types: webhook is a number": _at(WORDS, "body"),
    "types: unknown event": _at(WORDS, "body"),
    "types: context is a list": _at(WORDS, "body"),
    "types: context of numbers": _at(WORDS, "body"),
    "types: truncated JSON": _at(WORDS, "body"),
    "types: empty body": _at(WORDS, "body"),
    "types: NaN": _at(WORDS, "body"),
    "types: invalid UTF-8": _at(WORDS, "body"),
    # Routes.
    "types: root": DISCOVERY,
    "training: root": DISCOVERY,
    "types: docs": _at("the page that `/` names exists", "status", "type", "body"),
    "types: get of an unknown prediction": _at("GET /predictions/{id} exists", "status", "type", "body"),
    "types: health": _at("setup logs are what the model printed, not what the server did", "body.setup.logs"),
    # Outputs.
    "shapes: huge": _at("integers pass exactly", "body.output"),
    "shapes: nan": _at(WORDS, "body.error"),
    "shapes: bytes": _at(WORDS, "body.error"),
    "shapes: object": _at(WORDS, "body.error"),
    "shapes: partial": _at("a line without an end belongs to the prediction that wrote it", "body.logs"),
    "shapes: iterator": _at(WORKS, "body.error", "body.status", "body.output"),
    "files: path": _at("an input annotated cog.Path is one", "body.output.0"),
    "files: output stringio": _at(WORKS, "body.error", "body.status", "body.output"),
    "files: output missing": _at("a file that is not there is an error", "body.error", "body.status", "body.output"),
    "files: http": {"body.error": WORDS, "body.metrics.predict_time": NOT_RUN},
    # Failures.
    **{f"errors: {how}": _FAILED for how in ("value", "mine", "empty", "exit", "keyboard")},
    "scope: metric of a bad name": _FAILED,
    "scope: metric of a reserved name": _FAILED,
    "generator: fails": {**_FAILED, "body.output": KEPT},
    "async: fails": {**_FAILED, "body.output": KEPT},
    "generator: events of a failure": {"events": "the traceback is an event of the log, too"},
    "setup-fails: health": {"printed": "what setup printed is kept when it fails"},
    "training: train by prediction": _at(TRAINS, "status", *_PREDICTION),
    # What is told while it runs, and after.
    "types: webhook, start and end": _ACCEPTED,
    "types: webhook, end alone": _ACCEPTED,
    "generator: webhook, of an iterator": _ACCEPTED,
    "files: webhook, of a file": _ACCEPTED,
    "errors: webhook, of a failure": {**_ACCEPTED, "hooks.0.body.error": DOUBLED, "hooks.0.body.logs": KEPT},
    "generator: webhook, of a failed iterator": {
        **_ACCEPTED, "hooks.0.body.error": DOUBLED, "hooks.0.body.logs": KEPT,
    },
    "generator: webhook, output as it comes": {"partial": "output is told twice a second at most, as documented"},
    "slow: cancel": _at(WHOLE, "begun.body.logs", "begun.body.metrics"),
    "slow-async: cancel": _at(WHOLE, "begun.body.logs", "begun.body.metrics"),
    "crash: crash, and what follows": {
        "crashed.body.error": "it is said how the worker ended",
        "crashed.body.metrics.predict_time": NOT_RUN,
        **_at(
            ALIVE, "health", "next.status", "next.body.error", "next.body.status", "next.body.id", "next.body.logs",
            "next.body.metrics", "next.body.output",
        ),
    },
}  # fmt: skip
