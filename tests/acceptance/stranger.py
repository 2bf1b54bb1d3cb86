"""What a stranger needs to use Keyward: the program, its contract as `keyward descriptors` writes it, and grpcio.

Nothing here is generated from our sources: messages are built from the descriptor set while the tests run.
"""

import email
import email.policy
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("KEYWARD_PROGRAM", str(ROOT / "target" / "debug" / "keyward"))
DEADLINE = 30


def environment(**more):
    """The environment without what a developer has set for keyward."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KEYWARD_", "OTEL_"))}
    return {**kept, **more}


class Refused(Exception):
    """A call that was answered with an error; `code` is gRPC's name for it."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Contract:
    """The services of `keyward.v1`, called by name with plain dictionaries in the proto3 JSON mapping."""

    def __init__(self, path):
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(path).read_bytes()).file
        self.pool = descriptor_pool.DescriptorPool()
        waiting = {file.name: file for file in files}
        while waiting:
            ready = [file for file in waiting.values() if not waiting.keys() & set(file.dependency)]
            assert ready, f"imports in a circle, or missing: {sorted(waiting)}"
            for file in ready:
                self.pool.AddSerializedFile(file.SerializeToString())
                del waiting[file.name]

    def call(self, channel, rpc, request, metadata=()):
        """Calls `Service/Method` and answers with a dictionary."""
        service, method = rpc.split("/")
        described = self.pool.FindServiceByName(f"keyward.v1.{service}").FindMethodByName(method)
        message = json_format.ParseDict(
            request, message_factory.GetMessageClass(described.input_type)(), descriptor_pool=self.pool
        )
        call = channel.unary_unary(
            f"/keyward.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(described.output_type).FromString,
        )
        try:
            reply = call(message, metadata=tuple(metadata), timeout=DEADLINE)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from None
        return json_format.MessageToDict(reply, descriptor_pool=self.pool)


class Server:
    """`keyward serve` on free ports and a database of its own."""

    def __init__(self, folder, mail=None, more=(), credentials=None, variables=None):
        self.folder, self.variables = pathlib.Path(folder), variables or {}
        self.mail = mail or ["--mail-dir", str(self.folder / "mail")]
        self.more, self.credentials = list(more), credentials
        self.process = None
        self.start()

    def start(self):
        arguments = ["serve", "--log-format", "json", "--database-url", f"sqlite:{self.folder / 'keyward.db'}"]
        arguments += ["--root-key-file", str(self.folder / "root.key"), *self.mail, *self.more]
        for listener in ("data", "admin", "ops"):
            arguments += [f"--{listener}-addr", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**self.variables),
        )
        log = []
        for line in self.process.stderr:
            log.append(line)
            try:
                fields = json.loads(line).get("fields", {})
            except ValueError:
                continue
            if fields.get("message") == "serving":
                break
        else:
            raise AssertionError(f"the server ended before it served ({self.process.wait()}):\n{''.join(log)}")
        self.data, self.admin, self.ops = fields["data"], fields["admin"], fields["ops"]
        # Nobody reads on, but somebody must: a full pipe would stop the server.
        self.reader = threading.Thread(target=self.process.stderr.read)
        self.reader.start()
        self.root = (self.folder / "root.key").read_text().strip()

    def channel(self, address):
        """A connection to one of its listeners, with TLS if it has that."""
        if self.credentials is None:
            return grpc.insecure_channel(address)
        return grpc.secure_channel(address, self.credentials)

    def terminate(self):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.ended()

    def ended(self):
        code = self.process.wait(DEADLINE)
        self.reader.join()
        self.process.stderr.close()
        return code


class Grpc:
    """Everything by gRPC, as whoever holds `credential`."""

    def __init__(self, server, contract, credential):
        self.server, self.contract, self.credential = server, contract, credential

    def holding(self, credential):
        return Grpc(self.server, self.contract, credential)

    def call(self, rpc, request, metadata=None):
        metadata = [("authorization", f"Bearer {self.credential}")] if metadata is None else metadata
        with self.server.channel(self.server.admin) as channel:
            return self.contract.call(channel, rpc, request, metadata)

    def check(self, credential, *permissions, **more):
        """Whether it is allowed, and the reasons why not, by the listener that anyone on this machine may ask."""
        asked = [{"resource": resource, "action": action} for resource, action in permissions]
        with self.server.channel(self.server.data) as channel:
            reply = self.contract.call(
                channel, "CheckService/Check", {"credential": credential, "permissions": asked, **more}
            )
        return verdict(reply)


class CommandLine:
    """Everything by `keyward … -o json`, as whoever holds `credential`. No secret is an argument."""

    def __init__(self, server, credential):
        self.server, self.credential = server, credential

    def holding(self, credential):
        return CommandLine(self.server, credential)

    def run(self, *arguments, given="", **variables):
        """Runs a command on the administrative listener and answers with its JSON; `given` is its standard input."""
        done = subprocess.run(
            [PROGRAM, *arguments, "-o", "json"],
            env=environment(KEYWARD_SERVER=self.server.admin, KEYWARD_KEY=self.credential, **variables),
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        if done.returncode != 0:
            code = re.search(r"\(([A-Z_]+)", done.stderr)
            raise Refused(code[1] if code else f"exit code {done.returncode}", done.stderr)
        return json.loads(done.stdout)

    def check(self, credential, *permissions, secret_key="", tenant=""):
        arguments = ["check", "--credential-file", "-", "-o", "json"]
        for resource, action in permissions:
            arguments += ["--resource", resource, "--action", action]
        if tenant:
            arguments += ["--tenant", tenant]
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=environment(KEYWARD_SERVER=self.server.data, KEYWARD_CREDENTIAL_SECRET_KEY=secret_key),
            input=credential,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        if done.returncode not in (0, 1):
            raise Refused(f"exit code {done.returncode}", done.stderr)
        answer = verdict(json.loads(done.stdout))
        assert answer[0] == (done.returncode == 0), f"exit code {done.returncode} for {done.stdout}"
        return answer


def verdict(reply):
    reasons = [reason.removeprefix("REASON_") for reason in reply.get("reasons", [])]
    return reply.get("decision") == "DECISION_ALLOWED", reasons


class Stranger(unittest.TestCase):
    """A test with a server of its own, and a tenant `acme` that root has made by gRPC."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.descriptors = self.folder / "keyward.binpb"
        subprocess.run([PROGRAM, "descriptors", "--out", self.descriptors], check=True, env=environment())
        self.contract = Contract(self.descriptors)
        told = (self.mail_arguments(), self.more_arguments(), self.credentials(), self.variables())
        self.server = Server(self.folder, *told)
        self.addCleanup(self.server.kill)
        self.root = Grpc(self.server, self.contract, self.server.root)
        self.made = self.root.call(
            "TenantService/CreateTenant", {"tenantId": "acme", "owner": {"email": "ana@acme.example"}}
        )
        self.owner = self.root.holding(self.made["masterCredential"])

    def mail_arguments(self):
        """How the server is told to send mail; by default into a folder."""
        return None

    def more_arguments(self):
        """What else the server is told."""
        return []

    def variables(self):
        """What the server has in its environment besides."""
        return {}

    def credentials(self):
        """Those of grpcio, where the server has TLS."""
        return None

    def mails(self, count):
        """The mails that were sent, oldest first, once there are so many."""
        deadline = time.monotonic() + DEADLINE
        while True:
            paths = sorted((self.folder / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
            if len(paths) >= count:
                break
            self.assertLess(time.monotonic(), deadline, f"{len(paths)} of {count} mails came")
            time.sleep(0.02)
        self.assertEqual(len(paths), count, "more mails than there should be")
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]

    def refused(self, code, call, *arguments, **named):
        """Asserts that a call is refused with this code; what was said."""
        with self.assertRaises(Refused) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code, caught.exception.text)
        return caught.exception.text
