"""A runner as an OpenAPI 3.0.2 document in the shape that Cog's clients expect.

Pure: from values to dictionaries.  Keys are in the order in which they are to be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.schema.inputs import Input
from builder.schema.runner import Mode, Runner
from builder.schema.titles import Ordered, title

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}


def document(run: Runner | None, *, train: Runner | None, version: str) -> dict[str, Any]:
    """The document for a predictor, a trainer or both; `version` is this release's."""
    schemas = Ordered()
    paths = Ordered()
    if run is not None:
        schemas |= _schemas(run, mode="run", taken={})
        paths |= _paths(run, mode="run")
    if train is not None:
        for name, schema in _schemas(train, mode="train", taken=schemas).items():
            schemas.setdefault(name, schema)
        for path, item in _paths(train, mode="train").items():
            paths.setdefault(path, item)
    whole = {
        "components": {"schemas": schemas},
        "info": {"title": "Cog", "version": version},
        "openapi": "3.0.2",
        "paths": paths,
    }
    merged = run is not None and train is not None
    arranged: dict[str, Any] = _arranged(whole, everywhere=merged)
    return arranged


def _arranged(value: Any, *, everywhere: bool) -> Any:
    """Sorted keys; `everywhere` also where an order was meant, as upstream merges two documents."""
    if isinstance(value, dict):
        keys = list(value) if isinstance(value, Ordered) and not everywhere else sorted(value)
        return {key: _arranged(value[key], everywhere=everywhere) for key in keys}
    if isinstance(value, list):
        return [_arranged(item, everywhere=everywhere) for item in value]
    return value


def _schemas(runner: Runner, *, mode: Mode, taken: Mapping[str, Any]) -> Ordered:
    """The components; `taken` are those of the other mode, whose names mean what they mean there."""
    prefix, request = ("", "Prediction") if mode == "run" else ("Training", "Training")
    messages = _messages(request, prefix=prefix)
    enums, members = Ordered(), Ordered()
    reserved = {*messages, "Input", "Output", "TrainingInput", "TrainingOutput"}
    for order, item in enumerate(runner.inputs):
        component = None
        if item.choices is not None:
            enum = _enum(item)
            names = (item.name, f"{item.name}_choices", f"{prefix}choices_{order}")
            component = next(n for n in names if n.isascii() and n not in reserved and taken.get(n, enum) == enum)
            enums[component] = enum
        members[item.name] = _property(item, order=order, component=component)
    inputs: dict[str, Any] = {"properties": members, "title": f"{prefix}Input", "type": "object"}
    required = [item.name for item in runner.inputs if item.required]
    if required:
        inputs["required"] = required
    found = {f"{prefix}Input": inputs, f"{prefix}Output": {**runner.output, "title": "Output"}}
    return Ordered({**found, **enums, **messages})


def _enum(item: Input) -> dict[str, Any]:
    kind = {"type": item.schema["type"]} if "type" in item.schema else {}
    return {"description": "An enumeration.", "enum": item.choices, "title": item.name, **kind}


def _property(item: Input, *, order: int, component: str | None) -> dict[str, Any]:
    """An input as a property; `component` is the name of its choices."""
    made: dict[str, Any] = {"x-order": order}
    if component is not None:
        made["allOf"] = [{"$ref": f"#/components/schemas/{component}"}]
    elif item.nullable and "anyOf" in item.schema:
        made |= {"title": title(item.name), "anyOf": [{**kind, "nullable": True} for kind in item.schema["anyOf"]]}
    else:
        made |= {"title": title(item.name), **item.schema}
    if item.nullable:
        made["nullable"] = True
    if item.has_default:
        made["default"] = item.default
    if item.description is not None:
        made["description"] = item.description
    if item.deprecated:
        made["deprecated"] = True
    if item.accept is not None:
        made["x-cog-accept"] = item.accept
    return {**made, **item.limits}


def _messages(request: str, *, prefix: str) -> Ordered:
    """What goes around inputs and outputs."""
    given = {"$ref": f"#/components/schemas/{prefix}Input"}
    names = {
        "id": _TEXT,
        "logs": _TEXT,
        "error": _TEXT,
        "status": _TEXT,
        "version": _TEXT,
        "metrics": {"type": "object"},
    }
    times = dict.fromkeys(("created_at", "started_at", "completed_at"), _TIME)
    titled = {name: {**kind, "title": title(name)} for name, kind in {**names, **times}.items()}
    response = {**titled, "input": given, "output": {"$ref": f"#/components/schemas/{prefix}Output"}}
    detail = {"items": {"$ref": "#/components/schemas/ValidationError"}, "title": "Detail", "type": "array"}
    location = {"items": {"anyOf": [_TEXT, {"type": "integer"}]}, "title": "Location", "type": "array"}
    return Ordered(
        {
            f"{request}Request": _object(f"{request}Request", {"id": titled["id"], "input": given}),
            f"{request}Response": _object(f"{request}Response", response),
            "Status": {
                "description": "An enumeration.",
                "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
                "title": "Status",
                "type": "string",
            },
            "HTTPValidationError": _object("HTTPValidationError", {"detail": detail}),
            "ValidationError": {
                **_object(
                    "ValidationError",
                    {"loc": location, "msg": {**_TEXT, "title": "Message"}, "type": {**_TEXT, "title": "Error Type"}},
                ),
                "required": ["loc", "msg", "type"],
            },
        }
    )


def _object(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"properties": properties, "title": name, "type": "object"}


def _paths(runner: Runner, *, mode: Mode) -> Ordered:
    verb, one, many = ("predict", "prediction", "predictions") if mode == "run" else ("train", "training", "trainings")
    about = "Run a single prediction on the model" if mode == "run" else "Run a single training on the model"
    start: dict[str, Any] = {
        "description": about,
        "operationId": f"{verb}_{many}_post",
        "requestBody": _json({"$ref": f"#/components/schemas/{one.capitalize()}Request"}),
        "responses": _responses({"$ref": f"#/components/schemas/{one.capitalize()}Response"}, validated=True),
        "summary": verb.capitalize(),
    }
    if runner.streaming:
        start["x-cog-streaming"] = True
    identifier = {"in": "path", "name": f"{one}_id", "required": True, "schema": {**_TEXT, "title": title(f"{one}_id")}}
    cancel = {
        "operationId": f"cancel_{many}__{one}_id__cancel_post",
        "parameters": [identifier],
        "responses": _responses({}, validated=True),
        "summary": "Cancel",
    }
    return Ordered(
        {
            "/": {"get": _plain("root__get", "Root")},
            "/health-check": {"get": _plain("healthcheck_health_check_get", "Healthcheck")},
            f"/{many}": {"post": start},
            f"/{many}/{{{one}_id}}/cancel": {"post": cancel},
        }
    )


def _plain(operation: str, summary: str) -> dict[str, Any]:
    return {"operationId": operation, "responses": _responses({}, validated=False), "summary": summary}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _responses(schema: dict[str, Any], *, validated: bool) -> dict[str, Any]:
    found = {"200": {**_json(schema), "description": "Successful Response"}}
    if validated:
        error = _json({"$ref": "#/components/schemas/HTTPValidationError"})
        found["422"] = {**error, "description": "Validation Error"}
    return found
