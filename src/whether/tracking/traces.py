"""A bounded sample of answers as traces of an arm's run: MLflow's page of a run, and its comparison, show them."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from whether.tracking.names import storable
from whether.tracking.views import TraceView

_MOST = 500
"""Traces of a run that are looked at, which is MLflow's limit for a page."""


def trace_id(run_id: str, example: str) -> str:
    """Return the id of an example's trace, the same one whenever it is written."""
    return f"tr-{hashlib.sha256(f'{run_id}/{example}'.encode()).hexdigest()[:32]}"


def log_traces(client: Any, experiment_id: str, run_id: str, views: Sequence[TraceView]) -> None:
    """Write the traces of a run that are missing. Each is a request for its record and one for its spans."""
    from mlflow.tracing.client import TracingClient

    # Of a run that other verdicts showed too there may be more than these.
    found = client.search_traces(locations=[experiment_id], run_id=run_id, include_spans=False, max_results=_MOST)
    there = {trace.info.trace_id for trace in found}
    tracing = TracingClient(client.tracking_uri)
    for view in map(_storable, views):
        key = trace_id(run_id, view.example)
        if key not in there:
            # Spans first: a trace that is listed is complete.
            tracing.log_spans(experiment_id, _spans(key, view))
            tracing.start_trace(_info(key, experiment_id, run_id, view))


def _storable(view: TraceView) -> TraceView:
    """Return a view whose texts every database keeps: a model may write a NUL."""
    texts: dict[str, Any] = {name: storable(value) for name, value in vars(view).items() if isinstance(value, str)}
    return replace(view, inputs={storable(name): storable(value) for name, value in view.inputs.items()}, **texts)


def _info(key: str, experiment_id: str, run_id: str, view: TraceView) -> Any:
    from mlflow.entities import AssessmentSource, Expectation, Feedback, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.constant import TRACE_SCHEMA_VERSION, TRACE_SCHEMA_VERSION_KEY, TraceMetadataKey, TraceTagKey

    source = AssessmentSource("CODE", "whether")
    metadata = {TraceMetadataKey.SOURCE_RUN: run_id, TRACE_SCHEMA_VERSION_KEY: str(TRACE_SCHEMA_VERSION)}
    if view.input_tokens is not None and view.output_tokens is not None:
        metadata[TraceMetadataKey.TOKEN_USAGE] = json.dumps(_usage(view))
    return TraceInfo(
        trace_id=key,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=int(view.started.timestamp() * 1000),
        state=TraceState.OK,
        request_preview=json.dumps(view.inputs, ensure_ascii=False),
        response_preview=view.output,
        client_request_id=view.example,
        execution_duration=round(view.seconds * 1000),
        trace_metadata=metadata,
        tags={TraceTagKey.TRACE_NAME: view.arm, "whether.example": view.example},
        assessments=[
            Expectation(name="expected_response", value=view.target, source=source, trace_id=key),
            Feedback(name="score", value=view.score, source=source, trace_id=key),
            Feedback(name="valid", value=view.valid, source=source, trace_id=key),
        ],
    )


def _usage(view: TraceView) -> dict[str, int]:
    read, written = view.input_tokens or 0, view.output_tokens or 0
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _spans(key: str, view: TraceView) -> list[Any]:
    """Return what was asked and understood, and below it what the model read and wrote."""
    from mlflow.entities import Span, SpanType
    from mlflow.tracing.constant import SpanAttributeKey

    number = bytes.fromhex(key.removeprefix("tr-"))
    start = int(view.started.timestamp() * 1e9)

    def span(name: str, own: str, parent: str | None, kind: str, *, inputs: Any, outputs: Any) -> Any:
        attributes = {
            SpanAttributeKey.REQUEST_ID: key, SpanAttributeKey.SPAN_TYPE: kind, SpanAttributeKey.INPUTS: inputs,
            SpanAttributeKey.OUTPUTS: outputs,
        }  # fmt: skip
        return Span.from_dict({
            "trace_id": _text(number), "span_id": own, "parent_span_id": parent, "name": name,
            "start_time_unix_nano": start, "end_time_unix_nano": start + round(view.seconds * 1e9),
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
        })  # fmt: skip

    answer = {"answer": view.answer, "output": view.output}
    first, second = _text(number[:8]), _text(number[8:])
    return [
        span(view.arm, first, None, SpanType.CHAIN, inputs=view.inputs, outputs=answer),
        span("model", second, first, SpanType.LLM, inputs=view.prompt, outputs=view.output),
    ]


def _text(number: bytes) -> str:
    """Return an id as OpenTelemetry's JSON has it."""
    return base64.b64encode(number).decode()
