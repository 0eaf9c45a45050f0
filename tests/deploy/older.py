"""Peers of an older revision of the wire, by the proto files of its time and another gRPC: an agent, and an aggregator."""

import concurrent.futures
import contextlib
import queue
import time
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from product import REPOSITORY, program, run

REVISIONS = REPOSITORY / "proto/tests/revisions"
STREAM = "/foreshadow.v1.Agent/Stream"


class Wire:
    """The messages of a revision. Nothing here knows what came later."""

    def __init__(self, revision: int, directory: Path):
        made = directory / f"{revision}.binpb"
        ended = run(program("buf"), "build", REVISIONS / str(revision), "-o", made)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file:
            pool.Add(file)
        names = ("AgentMessage", "AggregatorMessage", "Hello", "Batch", "Sample", "Welcome", "Ack", "Range", "Directive")
        for name in names:
            made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"foreshadow.v1.{name}"))
            setattr(self, name, made)
        self.revision = revision

    @contextlib.contextmanager
    def agent(self, address: str, instance: str, stream: bytes):
        """An agent's stream: what is said into it, and what comes back."""
        said = queue.SimpleQueue()
        hello = self.Hello(instance_id=instance, stream_id=stream, boot_id="boot", agent_version="0.0.9", protocol=self.revision)
        said.put(self.AgentMessage(hello=hello))
        with grpc.insecure_channel(address) as channel:
            call = channel.stream_stream(
                STREAM,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=self.AggregatorMessage.FromString,
            )
            yield said.put, call(iter(said.get, None), timeout=30)
            said.put(None)

    def batch(self, stream: bytes, sequences: range, micros):
        """Samples with these numbers, of the times that `micros` gives; the reading is the number."""
        samples = [
            self.Sample(
                sequence=number, wall_micros=micros(number), monotonic_micros=number * 1_000_000, covers_millis=1_000,
                cpu_percent=number % 100,
            )
            for number in sequences
        ]  # fmt: skip
        return self.AgentMessage(batch=self.Batch(stream_id=stream, boot_id="boot", samples=samples))

    @contextlib.contextmanager
    def aggregator(self, address: str):
        """An aggregator that acknowledges whatever it can read; yields what it has been told, a message at a time."""
        heard, store = [], b"a store of old.."

        def stream(messages, context):
            # As an aggregator does: the agent says nothing before it is answered.
            context.send_initial_metadata(())
            for raw in messages:
                message = self.AgentMessage.FromString(raw)
                heard.append(message)
                kind = message.WhichOneof("kind")
                if kind == "hello":
                    welcome = self.Welcome(store_id=store, wall_micros=time.time_ns() // 1_000, credit=100)
                    yield self.AggregatorMessage(welcome=welcome)
                    yield self.AggregatorMessage(directive=self.Directive(interval_millis=1_000, mode=2))
                elif kind == "batch" and message.batch.samples:
                    numbers = [sample.sequence for sample in message.batch.samples]
                    ranges = [self.Range(first=numbers[0], last=numbers[-1])]
                    ack = self.Ack(store_id=store, stream_id=message.batch.stream_id, ranges=ranges)
                    yield self.AggregatorMessage(ack=ack)

        method = grpc.stream_stream_rpc_method_handler(stream, response_serializer=lambda message: message.SerializeToString())
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=2))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("foreshadow.v1.Agent", {"Stream": method})])
        server.add_insecure_port(address)
        server.start()
        try:
            yield heard
        finally:
            server.stop(grace=None).wait()
