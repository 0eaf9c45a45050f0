"""Exports a metric of a service's own as the OpenTelemetry SDK does: otlp_level.py grpc|http ENDPOINT TOKEN NAME VALUE"""

import sys
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

way, endpoint, token, name, value = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"}
exporter = Grpc(endpoint, insecure=True, headers=tuple(headers.items())) if way == "grpc" else Http(endpoint + "/v1/metrics", headers=headers)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1000)
meter = MeterProvider(metric_readers=[reader], resource=Resource({"service.name": "web"})).get_meter("otlp_level")
meter.create_observable_gauge(name, [lambda _: [Observation(int(value))]])
while True:
    time.sleep(60)
