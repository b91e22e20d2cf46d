"""In the place of an OpenTelemetry collector: takes OTLP over HTTP from who shows the token, and prints a line for each span."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TOKEN = "Bearer change-me"


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = self.path == "/v1/traces" and self.headers.get("Authorization") == TOKEN
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans if good else ():
            resource = {pair.key: pair.value.string_value for pair in of_process.resource.attributes}
            for of_scope in of_process.scope_spans:
                for span in of_scope.spans:
                    ids = {key: getattr(span, key).hex() for key in ("trace_id", "span_id", "parent_span_id")}
                    line = json.dumps({**ids, "name": span.name, "resource": resource})
                    print(f"{line}\n", end="", flush=True)  # in one piece: other threads write theirs
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, *_: object) -> None:
        """Spans alone."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 4318), Collector).serve_forever()
