"""An OTLP receiver of traces that decodes with the official opentelemetry-proto package: one line of JSON a span, into a file.

otlp_collector.py PORT FILE
"""
import http.server
import json
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

PORT, FILE = int(sys.argv[1]), sys.argv[2]


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, kind)


def attributes(pairs):
    keys = [pair.key for pair in pairs]
    assert len(keys) == len(set(keys)), keys
    return {pair.key: plain(pair.value) for pair in pairs}


def told(span, resource, scope, token):
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.SpanKind.Name(span.kind),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "events": [
            {"name": it.name, "at": it.time_unix_nano, "attributes": attributes(it.attributes)} for it in span.events
        ],
        "status": span.status.StatusCode.Name(span.status.code),
        "why": span.status.message,
        "resource": attributes(resource.attributes),
        "scope": scope.name,
        "token": token,
    }


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            return self.answer(415, b"")
        request = service.ExportTraceServiceRequest()
        request.ParseFromString(body)
        lines = []
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    # Nothing in it that the official messages do not know.
                    assert len(UnknownFieldSet(span)) == 0, span
                    lines.append(told(span, resource.resource, scope.scope, self.headers["authorization"]))
        with open(FILE, "a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
        self.answer(200, service.ExportTraceServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
