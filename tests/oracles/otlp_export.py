"""Exports metrics of a host as the OpenTelemetry SDK does: otlp_export.py grpc|http ENDPOINT TOKEN INSTANCE cumulative|delta

The host has two processors, one idle for 40 % of the time, the other for 20 %; 2 of 8 GB of memory are used.
"""

import sys
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from grpc import Compression as GrpcCompression

way, endpoint, token, instance, temporality = sys.argv[1:]
preferred = {ObservableCounter: getattr(AggregationTemporality, temporality.upper())}
authorization = f"Bearer {token}"
if way == "grpc":
    exporter = Grpc(endpoint, insecure=True, headers=(("authorization", authorization),), compression=GrpcCompression.Gzip,
                    preferred_temporality=preferred)
else:
    exporter = Http(endpoint + "/v1/metrics", headers={"authorization": authorization}, compression=Compression.Gzip,
                    preferred_temporality=preferred)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1000)
resource = Resource({"host.id": instance, "host.name": "elsewhere", "service.name": "web"})
meter = MeterProvider(metric_readers=[reader], resource=resource).get_meter("otlp_export")


def growing(rates):
    def observe(_options):
        now = time.time() - 1_700_000_000
        return [Observation(rate * now, labels) for labels, rate in rates]
    return [observe]


def traffic(scale):
    return growing([({"device": device, "direction": direction}, rate * scale) for device, direction, rate in
                    [("eth0", "receive", 10), ("eth0", "transmit", 5), ("lo", "receive", 777), ("lo", "transmit", 777)]])


processors = [({"cpu": cpu, "state": state}, rate) for cpu, state, rate in
              [("cpu0", "idle", 0.4), ("cpu0", "user", 0.6), ("cpu1", "idle", 0.2), ("cpu1", "user", 0.8)]]
meter.create_observable_counter("system.cpu.time", growing(processors), unit="s")
meter.create_observable_counter("system.network.io", traffic(100), unit="By")
meter.create_observable_counter("system.network.packets", traffic(1), unit="{packets}")
memory = {"used": 2_000_000_000, "free": 1_000_000_000, "cached": 5_000_000_000, "slab_reclaimable": 3_000_000_000}
meter.create_observable_up_down_counter(
    "system.memory.usage", [lambda _: [Observation(size, {"state": state}) for state, size in memory.items()]], unit="By")
meter.create_histogram("http.server.request.duration").record(0.1)
while True:
    time.sleep(60)
