"""OTLP by a receiver that is not ours: the messages of OpenTelemetry's own package, served by grpcio. What is sent, of
whom it says that it is, which calls have a span, and that a collector that is away, hangs or comes back harms nobody.
"""

import concurrent.futures
import socket
import threading
import time
import unittest

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from stranger import DEADLINE, Stranger

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=1")]
UNSAMPLED = [("traceparent", f"00-{TRACE}-{PARENT}-00")]


def read(value):
    """What an attribute holds."""
    return getattr(value, value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: read(pair.value) for pair in pairs}


class Receiver:
    """Keeps what it is sent."""

    def __init__(self, address="127.0.0.1:0"):
        self.traces, self.metrics, self.lock = [], [], threading.Lock()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(self), self.server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(self), self.server)
        self.port = self.server.add_insecure_port(address)
        assert self.port, address
        self.server.start()

    def stop(self):
        self.server.stop(0).wait(DEADLINE)

    def spans(self):
        """Each span that came, with the resource and the scope that it came under."""
        with self.lock:
            return [
                (span, attributes(of_resource.resource.attributes), of_scope.scope)
                for request in self.traces
                for of_resource in request.resource_spans
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]

    def instruments(self):
        """The newest state of each instrument, by its name."""
        with self.lock:
            return {
                metric.name: (metric, attributes(of_resource.resource.attributes), of_scope.scope)
                for request in self.metrics
                for of_resource in request.resource_metrics
                for of_scope in of_resource.scope_metrics
                for metric in of_scope.metrics
            }


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver):
        self.receiver = receiver

    def Export(self, request, context):
        with self.receiver.lock:
            self.receiver.traces.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver):
        self.receiver = receiver

    def Export(self, request, context):
        with self.receiver.lock:
            self.receiver.metrics.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Exporting(Stranger):
    """A server that is told where to send what it sees."""

    def more_arguments(self):
        return ["--otlp-endpoint", f"http://127.0.0.1:{self.port()}"]

    def variables(self):
        # OpenTelemetry's own, of which the default is a minute.
        return {"OTEL_METRIC_EXPORT_INTERVAL": "250", "OTEL_BSP_SCHEDULE_DELAY": "250"}

    def port(self):
        raise NotImplementedError

    def until(self, is_so, say=lambda: ""):
        deadline = time.monotonic() + DEADLINE
        while not (found := is_so()):
            self.assertLess(time.monotonic(), deadline, say())
            time.sleep(0.05)
        return found

    def ask(self, metadata=()):
        """A Check by whoever is on this machine."""
        asked = {"credential": self.root.credential}
        with self.server.channel(self.server.data) as channel:
            return self.contract.call(channel, "CheckService/Check", asked, metadata)


class Named(Exporting):
    def port(self):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        return self.receiver.port

    def variables(self):
        more = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=other,host.name=node-1", "OTEL_SERVICE_NAME": "gate"}
        return {**super().variables(), **more}

    def test_the_name_of_the_service_goes_before_that_among_the_attributes(self):
        self.ask(SAMPLED)
        self.until(lambda: self.receiver.spans() and self.receiver.instruments())
        for found in [*self.receiver.spans(), *self.receiver.instruments().values()]:
            self.assertEqual((found[1]["service.name"], found[1]["host.name"]), ("gate", "node-1"))


class Received(Exporting):
    def port(self):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        return self.receiver.port

    def variables(self):
        more = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging,host.name=node-1"}
        return {**super().variables(), **more}

    def named(self, method):
        return [found for found in self.receiver.spans() if found[0].name == method]

    def everything(self):
        """Ends the server, which sends the last of it."""
        self.assertEqual(self.server.terminate(), 0)

    def test_a_check_has_a_span_only_if_its_callers_is_sampled(self):
        method = "keyward.v1.CheckService/Check"
        self.ask()
        self.ask(UNSAMPLED)
        self.ask(SAMPLED)
        with self.server.channel(self.server.data) as channel:
            batch = {"checks": [{"credential": self.root.credential}] * 3}
            self.contract.call(channel, "CheckService/BatchCheck", batch, SAMPLED)
        self.everything()
        [(span, resource, scope)] = self.named(method)
        self.assertEqual((span.trace_id.hex(), span.parent_span_id.hex()), (TRACE, PARENT))
        self.assertEqual((span.kind, span.trace_state), (trace_pb2.Span.SPAN_KIND_SERVER, "vendor=1"))
        self.assertEqual(span.status.code, trace_pb2.Status.STATUS_CODE_UNSET)
        told = attributes(span.attributes)
        self.assertEqual(
            {name: told.get(name) for name in ("rpc.system.name", "rpc.method", "rpc.response.status_code")},
            {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": "OK"},
        )
        noise = [name for name in told if name.startswith(("code.", "thread.")) or name.endswith("_ns")]
        self.assertEqual(noise, [], "where in the source, on which thread and how busily is nobody's business")
        self.assertGreater(span.end_time_unix_nano, span.start_time_unix_nano)
        self.assertEqual(scope.name, "keyward")
        self.assertEqual(len(self.named("keyward.v1.CheckService/BatchCheck")), 1, "a call, whatever it carries")

    def test_an_administrative_call_has_a_span_unless_its_callers_is_not_sampled(self):
        method = "keyward.v1.KeyService/ListKeys"
        shown = [("authorization", f"Bearer {self.owner.credential}")]
        for metadata in ([], SAMPLED, UNSAMPLED):
            self.owner.call("KeyService/ListKeys", {"parent": "tenants/-"}, [*shown, *metadata])
        self.refused("NOT_FOUND", self.owner.call, "KeyService/GetKey", {"name": "tenants/acme/keys/none"})
        self.refused("UNAUTHENTICATED", self.owner.call, "KeyService/ListKeys", {"parent": "tenants/-"}, [])
        self.everything()
        spans = [span for span, _, _ in self.named(method)]
        ended = [(attributes(span.attributes)["rpc.response.status_code"], span.parent_span_id.hex()) for span in spans]
        self.assertEqual(sorted(ended), [("OK", ""), ("OK", PARENT), ("UNAUTHENTICATED", "")])
        [(missing, _, _)] = self.named("keyward.v1.KeyService/GetKey")
        self.assertEqual(attributes(missing.attributes)["rpc.response.status_code"], "NOT_FOUND")
        self.assertEqual(missing.status.code, trace_pb2.Status.STATUS_CODE_UNSET, "the caller's fault, not the server's")
        everything = b"".join(request.SerializeToString() for request in self.receiver.traces)
        for secret in (self.owner.credential, self.root.credential):
            self.assertNotIn(secret.encode(), everything)

    def test_whoever_sends_it_says_who_it_is(self):
        self.ask(SAMPLED)
        self.until(lambda: self.receiver.spans() and self.receiver.instruments())
        first = self.receiver.spans()[0][1]
        for resource in [found[1] for found in [*self.receiver.spans(), *self.receiver.instruments().values()]]:
            self.assertEqual(resource, first, "traces and metrics are of the same process")
        self.assertEqual(first["service.name"], "keyward")
        self.assertRegex(first["service.version"], r"^\d+\.\d+\.\d+")
        self.assertRegex(first["service.instance.id"], r"^[0-9a-f]{8}-[0-9a-f-]{27}$")
        self.assertEqual(first["deployment.environment.name"], "staging")
        self.assertEqual(first["host.name"], "node-1")
        self.assertEqual(first["telemetry.sdk.name"], "opentelemetry")
        self.everything()
        with self.receiver.lock:
            self.receiver.traces.clear()
            self.receiver.metrics.clear()
        self.server.start()
        self.until(self.receiver.instruments)
        [(_, second, _)] = list(self.receiver.instruments().values())[:1]
        self.assertNotEqual(second["service.instance.id"], first["service.instance.id"])

    def test_metrics_are_those_that_prometheus_sees(self):
        for _ in range(3):
            self.ask()
        self.root.check("kw_nobody")

        def points(name):
            metric, _, scope = self.receiver.instruments()[name]
            self.assertEqual(scope.name, "keyward")
            self.assertTrue(metric.description, name)
            return getattr(metric, metric.WhichOneof("data"))

        def decided(**wanted):
            data = points("keyward.check.decisions").data_points
            [point] = [point for point in data if attributes(point.attributes) == wanted]
            return point.as_int

        self.until(lambda: "keyward.check.decisions" in self.receiver.instruments())
        # One of them the server asked itself, being new.
        self.until(lambda: decided(decision="ALLOWED", reason="", surface="check") == 4)
        self.until(lambda: decided(decision="DENIED", reason="MALFORMED", surface="check") == 1)
        counter = points("keyward.check.decisions")
        self.assertTrue(counter.is_monotonic)
        self.assertEqual(counter.aggregation_temporality, metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE)

        metric, _, _ = self.receiver.instruments()["rpc.server.call.duration"]
        self.assertEqual(metric.unit, "s")
        self.assertEqual(metric.WhichOneof("data"), "histogram")
        wanted = {
            "rpc.system.name": "grpc",
            "rpc.method": "keyward.v1.CheckService/Check",
            "rpc.response.status_code": "OK",
        }

        def check():
            data = points("rpc.server.call.duration").data_points
            [point] = [point for point in data if attributes(point.attributes) == wanted]
            return point

        self.until(lambda: check().count == 5, lambda: str(check()))
        self.assertEqual(check().explicit_bounds[0], 0.000025)
        self.assertGreater(check().sum, 0)
        for name, unit in (
            ("keyward.serving", ""),
            ("keyward.ledger.revision", ""),
            ("keyward.index.credentials", ""),
            ("keyward.lease.age", "s"),
            ("keyward.lease.remaining", "s"),
            ("keyward.replica.lag.revisions", ""),
            ("keyward.barrier.wait", "s"),
            ("keyward.mail.queued", ""),
            ("keyward.connections.open", ""),
            ("keyward.usage.flushes", ""),
        ):
            self.assertIn(name, self.receiver.instruments())
            self.assertEqual(self.receiver.instruments()[name][0].unit, unit, name)


class Hanging(Exporting):
    """A collector that takes connections and never says anything."""

    def port(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.taken = []
        thread = threading.Thread(target=self.take)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.listener.shutdown, socket.SHUT_RDWR)
        return self.listener.getsockname()[1]

    def take(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                for one in self.taken:
                    one.close()
                return

    def test_it_harms_nobody_and_the_end_comes_in_time(self):
        self.until(lambda: self.taken)
        # More spans than are kept: what is beyond that is dropped, and no call waits for room.
        with self.server.channel(self.server.data) as channel:
            batch = {"checks": [{"credential": self.root.credential}]}
            for _ in range(3000):
                self.contract.call(channel, "CheckService/BatchCheck", batch, SAMPLED)
        self.assertEqual(self.ask(SAMPLED)["decision"], "DECISION_ALLOWED")
        self.owner.call("KeyService/CreateKey", {"parent": "tenants/-"})
        self.assertEqual(self.server.terminate(), 0)


class Away(Exporting):
    """A collector that is not there, and comes."""

    def port(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.free = probe.getsockname()[1]
        return self.free

    def test_what_is_sent_after_it_came_arrives(self):
        for _ in range(50):
            self.assertEqual(self.ask(SAMPLED)["decision"], "DECISION_ALLOWED")
        receiver = Receiver(f"127.0.0.1:{self.free}")
        self.addCleanup(receiver.stop)
        self.until(receiver.instruments)

        def arrives():
            self.ask(SAMPLED)
            return receiver.spans()

        self.until(arrives)
        receiver.stop()
        self.assertEqual(self.ask(SAMPLED)["decision"], "DECISION_ALLOWED")
        self.assertEqual(self.server.terminate(), 0)

    def test_without_one_it_ends_as_ever(self):
        self.ask(SAMPLED)
        self.assertEqual(self.server.terminate(), 0)


if __name__ == "__main__":
    unittest.main()
