"""A real Prometheus, with deploy/prometheus as it stands there but for addresses and spans, reads real servers: what the
rules, the dashboard and the README name is there and moves, and what is broken on purpose is told.
"""

import json
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import grpc
import trustme
import yaml
from google.protobuf import json_format, message_factory

from deploy import DEPLOY, Postgres, Serving, run, values
from sidecar import free_port
from stranger import DEADLINE, PROGRAM, ROOT, Contract, Grpc, Refused, Stranger, environment
from traps import REFUSE

RULES = DEPLOY / "prometheus" / "rules.yaml"

# How long an alert may take here, of which the real ones are shortened to a few seconds each.
PATIENCE = 3 * DEADLINE

# Ours and no label; a recorded series has a colon in its name.
METRIC = r"(?<![\w:.])((?:keyward|rpc_server)_[a-z_]+)\b(?!:)"


def rules():
    """Each rule of deploy/prometheus."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard():
    """Each query of the dashboard."""
    text = (DEPLOY / "grafana/dashboard.json").read_text()
    found = list(values(json.loads(text)["panels"], "expr"))
    return [one.replace("$__rate_interval", "5m").replace('instance=~"$instance"', 'instance=~".+"') for one in found]


def shortened(text):
    """The rules with every span a few seconds long: what matters here is whether they fire, not when."""
    text = re.sub(r"(?m)^( +)for: \w+$", r"\1for: 1s", text)
    text = re.sub(r"\[\d+[mh]\]", "[10s]", text)
    text = re.sub(r"offset \d+m", "offset 10s", text)
    return re.sub(r"offset \d+h", "offset 15s", text)


def messages(contract, service, method):
    """Where a method is, and the classes of what it is asked and answers."""
    described = contract.pool.FindServiceByName(service).FindMethodByName(method)
    classes = [message_factory.GetMessageClass(one) for one in (described.input_type, described.output_type)]
    return f"/{service}/{method}", *classes


class Prometheus:
    """The server of that name, which reads `targets` by the configuration in deploy/prometheus."""

    def __init__(self, folder, targets, edit=lambda text: text):
        self.folder = pathlib.Path(folder) / "prometheus"
        self.folder.mkdir()
        (self.folder / "rules.yaml").write_text(edit(RULES.read_text()))
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
        self.process, self.count = None, len(targets)
        # Another process may take a port between our looking and its binding it.
        for _ in range(5):
            if self.start(config):
                return
        raise AssertionError(f"Prometheus does not start:\n{self.log()}")

    def start(self, config):
        self.address = f"127.0.0.1:{free_port()}"
        config = {**config, "scrape_configs": [*config["scrape_configs"]]}
        own = {"job_name": "prometheus", "static_configs": [{"targets": [self.address]}]}
        config["scrape_configs"].append(own)
        path = self.folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(config))
        run("promtool", "check", "config", path)
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={path}", f"--web.listen-address={self.address}"]
                + [f"--storage.tsdb.path={self.folder / 'data'}"],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=DEADLINE):
                    return True
            except OSError:
                assert time.monotonic() < deadline, f"Prometheus is not ready:\n{self.log()}"
                time.sleep(0.05)
        return False

    def log(self):
        return (self.folder / "log").read_text()

    def ask(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def series(self, expression):
        """What a query answers with: labels and value of each series."""
        result = self.ask("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in result]

    def value(self, expression):
        """The value of the one series that a query answers with; none if there is none."""
        found = self.series(expression)
        assert len(found) < 2, (expression, found)
        return found[0][1] if found else None

    def firing(self):
        """The alerts that fire, by name."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def evaluated(self):
        """When each group of rules was evaluated last."""
        return [group["lastEvaluation"] for group in self.ask("rules")["groups"]]

    def kill(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(DEADLINE)


class Watched(unittest.TestCase):
    """A test that waits for what Prometheus says."""

    def until(self, read, patience=DEADLINE, say=lambda: ""):
        """Reads until it is so, by a deadline."""
        deadline = time.monotonic() + patience
        while not (found := read()):
            self.assertLess(time.monotonic(), deadline, say())
            time.sleep(0.1)
        return found

    def fires(self, name, act=lambda: None, **labels):
        """Waits until an alert fires with these labels, doing something meanwhile; what it says."""

        def is_firing():
            act()
            alert = self.prometheus.firing().get(name)
            return alert if alert and labels.items() <= alert["labels"].items() else None

        alert = self.until(is_firing, PATIENCE, lambda: f"{name}: {self.prometheus.ask('alerts')}")
        for text in alert["annotations"].values():
            self.assertNotIn("<", text, "a template that failed, or a label that is not there")
            self.assertNotIn("{{", text)
        self.assertEqual(len(alert["annotations"]), 2)
        return alert

    def ends(self, name, act=lambda: None):
        def is_over():
            act()
            return name not in self.prometheus.firing()

        self.until(is_over, PATIENCE, lambda: f"{name}: {self.prometheus.ask('alerts')}")

    def told_without_a_fault(self):
        """That Prometheus took every sample that it was shown, and found nothing to complain of."""
        for counter in (
            "prometheus_target_scrapes_sample_out_of_order_total",
            "prometheus_target_scrapes_sample_duplicate_timestamp_total",
            "prometheus_target_scrapes_sample_out_of_bounds_total",
            "prometheus_target_scrapes_exceeded_sample_limit_total",
            "prometheus_target_scrapes_exceeded_body_size_limit_total",
            "prometheus_rule_evaluation_failures_total",
        ):
            self.assertEqual(self.prometheus.value(f"sum({counter}) or vector(0)"), 0, counter)
        dropped = "scrape_samples_scraped - scrape_samples_post_metric_relabeling"
        for labels, count in self.prometheus.series(dropped):
            self.assertEqual(count, 0, labels)
        lines = [line for line in self.prometheus.log().splitlines() if "level=warn" in line or "level=error" in line]
        self.assertEqual(lines, [])


class Healthy(Watched, Stranger):
    """A server on SQLite with which nothing is wrong."""

    def more_arguments(self):
        self.authority = trustme.CA()
        made = self.authority.issue_cert("127.0.0.1")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        (self.folder / "tls.key").write_bytes(made.private_key_pem.bytes())
        files = ("cert", "tls.crt"), ("key", "tls.key")
        listeners = ("data", "admin")
        pairs = [(f"--{one}-tls-{kind}-file", str(self.folder / name)) for one in listeners for kind, name in files]
        return [part for pair in pairs for part in pair]

    def credentials(self):
        return grpc.ssl_channel_credentials(self.authority.cert_pem.bytes())

    def setUp(self):
        super().setUp()
        self.prometheus = Prometheus(self.folder, [self.server.ops], shortened)
        self.addCleanup(self.prometheus.kill)
        grant = {"resources": {"resource": "doc/*", "actions": ["read"]}}
        made = self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": {"grants": [grant]}})
        self.key = made["credential"]
        self.until(lambda: self.prometheus.series('up{job="keyward"} == 1'))

    def checks(self, allowed):
        """A Check by each surface, five times; what is left out is denied by none of them."""
        action = "read" if allowed else "write"
        asked = {"credential": self.key, "permissions": [{"resource": "doc/1", "action": action}]}
        with self.server.channel(self.server.data) as channel:
            for _ in range(5):
                self.contract.call(channel, "CheckService/Check", asked)
            self.contract.call(channel, "CheckService/BatchCheck", {"checks": [asked] * 5})
            self.assertEqual(self.stream(channel, [{"check": asked}] * 5), 5)
            for mode in ("enforce", "observe"):
                for _ in range(5):
                    self.envoy(channel, action, mode)

    def stream(self, channel, requests):
        path, asked, answered = messages(self.contract, "keyward.v1.CheckService", "StreamCheck")
        call = channel.stream_stream(path, asked.SerializeToString, answered.FromString)
        given = [json_format.ParseDict(one, asked(), descriptor_pool=self.contract.pool) for one in requests]
        return len(list(call(iter(given), timeout=DEADLINE)))

    def envoy(self, channel, action, mode):
        path, asked, answered = messages(self.contract, "envoy.service.auth.v3.Authorization", "Check")
        call = channel.unary_unary(path, asked.SerializeToString, answered.FromString)
        http = {"method": "GET", "path": "/1", "host": "docs.example", "headers": {"authorization": f"Bearer {self.key}"}}
        extensions = {"resource": "doc/1", "action": action, "tenant": "tenants/acme", "mode": mode}
        attributes = {"request": {"http": http}, "contextExtensions": extensions}
        request = json_format.ParseDict({"attributes": attributes}, asked(), descriptor_pool=self.contract.pool)
        call(request, timeout=DEADLINE)

    def test_every_series_is_there_and_moves_and_nothing_is_told(self):
        # A server that is new has asked itself nothing here, since it does not trust its own certificate.
        self.root.check(self.root.credential)
        self.until(lambda: self.prometheus.value('keyward_check_decisions_total{decision="ALLOWED",surface="check"}') == 1)
        self.checks(True)
        decided = "sum by (surface) (keyward_check_decisions_total{%s})"
        allowed, denied = decided % 'decision="ALLOWED"', decided % 'decision="DENIED",reason="NOT_GRANTED"'
        surfaces = {"check": 5, "batch": 5, "stream": 5, "ext_authz": 5, "ext_authz_observe": 5}
        
        def by_surface(expression, own=0):
            """What was counted, less what was asked before."""
            found = {labels["surface"]: value for labels, value in self.prometheus.series(expression)}
            return {surface: value - own * (surface == "check") for surface, value in found.items()}

        self.until(lambda: by_surface(allowed, 1) == surfaces, say=lambda: by_surface(allowed, 1))
        self.assertEqual(by_surface(denied), dict.fromkeys(surfaces, 0), "at zero, before there is any")
        for _ in range(9):
            self.checks(True)
        self.checks(False)
        self.until(lambda: by_surface(denied) == surfaces, say=lambda: by_surface(denied))
        self.assertEqual(by_surface(allowed, 1), {surface: 50 for surface in surfaces})
        self.assertEqual(by_surface("keyward_check_denials_total"), surfaces)

        # A call is one whatever it carries.
        ended = 'sum by (rpc_method) (rpc_server_call_duration_seconds_count{rpc_response_status_code="OK",rpc_method=~".*Check"})'
        calls = {labels["rpc_method"]: value for labels, value in self.prometheus.series(ended)}
        for method, count in (
            ("keyward.v1.CheckService/Check", 56),
            ("keyward.v1.CheckService/BatchCheck", 11),
            ("keyward.v1.CheckService/StreamCheck", 11),
            ("envoy.service.auth.v3.Authorization/Check", 110),
        ):
            self.assertEqual(calls[method], count, calls)
        wide = '{rpc_system_name="grpc",rpc_method="keyward.v1.CheckService/Check",rpc_response_status_code="OK"}'
        self.assertEqual(self.prometheus.value(f"rpc_server_call_duration_seconds_count{wide}"), 56)
        self.assertGreater(self.prometheus.value(f"rpc_server_call_duration_seconds_sum{wide}"), 0)
        infinite = wide.replace("}", ',le="+Inf"}')
        self.assertEqual(self.prometheus.value(f"rpc_server_call_duration_seconds_bucket{infinite}"), 56)

        with self.subTest("gauges say what is so"):
            for gauge, wanted in (
                ("keyward_serving", 1),
                ("keyward_replica_refusing", 0),
                ("keyward_replica_lag_revisions", 0),
                ("keyward_mail_queued", 0),
                ("keyward_barrier_outstanding_replicas", 0),
            ):
                self.assertEqual(self.prometheus.value(gauge), wanted, gauge)
            revision = self.prometheus.value("keyward_ledger_revision")
            self.assertGreater(self.prometheus.value("keyward_index_credentials"), 2)
            self.assertGreater(self.prometheus.value('keyward_connections_open{listener="ops"}'), 0)
            self.owner.call("KeyService/CreateKey", {"parent": "tenants/-"})
            self.until(lambda: self.prometheus.value("keyward_ledger_revision") == revision + 1)
        with self.subTest("which server it is"):
            [(labels, _)] = self.prometheus.series('target_info{job="keyward"}')
            self.assertEqual(labels["service_name"], "keyward")
            self.assertRegex(labels["service_version"], r"^\d+\.\d+\.\d+$")
            self.assertRegex(labels["service_instance_id"], r"^[0-9a-f-]{36}$")

        self.kinds()
        self.queries()

        # Every rule has been evaluated after all that.
        before = self.prometheus.evaluated()
        self.until(lambda: all(then < now for then, now in zip(before, self.prometheus.evaluated())))
        self.assertEqual(self.prometheus.firing(), {})
        self.assertEqual(self.prometheus.ask("alerts")["alerts"], [], "none waits either")
        for group in self.prometheus.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])
        self.told_without_a_fault()

    def kinds(self):
        """What is named anywhere is there, and is of the kind that it is used as."""
        told = self.prometheus.ask("targets/metadata", match_target='{job="keyward"}')
        kinds = {one["metric"]: one["type"] for one in told}
        for one in told:
            self.assertTrue(one["help"], one["metric"])
            if one["metric"] != "target_info":
                self.assertTrue(one["help"].endswith("."), one)
        used = dashboard() + [rule["expr"] for rule in rules()]
        documents = (ROOT / "README.md").read_text() + "".join(
            path.read_text() for path in (DEPLOY / "prometheus").iterdir()
        )
        named = set()
        for text in [*used, documents]:
            named |= set(re.findall(METRIC, text))
        self.assertGreater(len(named), 20)
        for name in sorted(named):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            if base not in kinds:
                # Only text may name a family by its beginning.
                self.assertIn(name, kinds)
            elif base != name:
                self.assertEqual(kinds[base], "histogram", name)
        for expression in used:
            plain = re.sub(r"\s+", " ", expression)
            for function, name in re.findall(r"\b(rate|increase|min_over_time) ?\( ?(\w+)", plain):
                family = kinds[re.sub(r"_(bucket|sum|count)$", "", name)]
                wanted = ("gauge",) if function == "min_over_time" else ("counter", "histogram")
                self.assertIn(family, wanted, plain)
            for name in re.findall(METRIC, plain):
                if kinds.get(name) == "counter":
                    self.assertRegex(plain, rf"(rate|increase)\( ?{name}", "a counter as it is says nothing")

    def queries(self):
        """Every query of the dashboard is answered, and by a series wherever there has been something to see."""
        silent = []
        for expression in dashboard():
            if not self.prometheus.series(expression):
                silent.append(expression)
        for expression in silent:
            self.assertRegex(expression, r"> 0$", "shown only if there is any")

    def test_the_text_is_what_the_format_says(self):
        self.checks(True)
        with urllib.request.urlopen(f"http://{self.server.ops}/metrics", timeout=DEADLINE) as answer:
            self.assertEqual(answer.headers["content-type"].split(";")[0], "text/plain")
            text = answer.read().decode()
        judge = lambda text: subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=DEADLINE
        )
        judged = judge(text)
        self.assertEqual((judged.returncode, judged.stderr), (0, ""))
        self.assertNotEqual(judge(text.replace("# TYPE keyward_serving gauge", "# TYPE keyward_serving guage")).returncode, 0)
        # Prometheus takes the same series twice for one, and only counts it.
        lines = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
        self.assertEqual(len(lines), len(set(lines)))
        bounds = re.findall(r'rpc_server_call_duration_seconds_bucket\{.*?le="([^"]+)"\}', text)
        self.assertIn("2.5e-05", {f"{float(bound):g}" for bound in bounds if bound != "+Inf"})


class Spoiled(Watched, Stranger):
    """A server on SQLite that is spoiled in one way after the other."""

    def more_arguments(self):
        self.authority = trustme.CA()
        self.put(self.authority)
        files = ["--data-tls-cert-file", str(self.folder / "tls.crt"), "--data-tls-key-file", str(self.folder / "tls.key")]
        return [*files, "--check-auth", "bearer"]

    def mail_arguments(self):
        # Nobody listens there.
        return ["--smtp-url", f"smtp://127.0.0.1:{free_port()}?tls=none"]

    def put(self, authority):
        made = authority.issue_cert("localhost", "127.0.0.1")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        (self.folder / "tls.key").write_bytes(made.private_key_pem.bytes())

    def setUp(self):
        super().setUp()
        self.prometheus = Prometheus(self.folder, [self.server.ops], shortened)
        self.addCleanup(self.prometheus.kill)
        # What rises must have been seen before.
        self.until(lambda: self.prometheus.series('up{job="keyward"} == 1'))
        self.until(lambda: len(self.prometheus.ask("query", query="keyward_serving[10s]")["result"][0]["values"]) > 2)

    def check(self, bearer, credential, action="read"):
        """A Check over TLS, by somebody who shows this."""
        authority = grpc.ssl_channel_credentials(self.authority.cert_pem.bytes())
        with grpc.secure_channel(self.server.data, authority) as channel:
            asked = {"credential": credential, "permissions": [{"resource": "doc/1", "action": action}]}
            try:
                self.contract.call(channel, "CheckService/Check", asked, [("authorization", f"Bearer {bearer}")])
            except Refused as refused:
                return refused.code
        return "OK"

    def test_mail_that_nobody_takes(self):
        self.owner.call("ApplicationService/CreateApplication", {"parent": "tenants/-", "applicationId": "billing"})
        said = self.fires("KeywardMailStuck")["annotations"]["summary"]
        self.assertIn("1 mails", said)

    def test_a_certificate_that_cannot_be_used(self):
        (self.folder / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        alert = self.fires("KeywardCertificateNotReloaded", listener="data", severity="critical")
        self.assertIn("data", alert["annotations"]["summary"])
        self.put(self.authority)
        self.until(lambda: self.prometheus.value('keyward_tls_reloads_total{listener="data",outcome="loaded"}'))
        self.ends("KeywardCertificateNotReloaded")

    def test_askers_whose_credential_is_no_longer_good(self):
        codes = set()
        self.fires("KeywardAskersRefused", lambda: codes.add(self.check("kw_nobody", self.server.root)))
        self.assertEqual(codes, {"UNAUTHENTICATED"})
        self.ends("KeywardAskersRefused")

    def test_connections_that_are_no_such(self):
        host, _, port = self.server.data.rpartition(":")

        def knock():
            for _ in range(3):
                with socket.create_connection((host, int(port)), timeout=DEADLINE) as stranger:
                    stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    stranger.recv(1)

        alert = self.fires("KeywardConnectionsRefused", knock, listener="data", reason="handshake")
        self.assertIn("data", alert["annotations"]["summary"])

    def test_somebody_who_tries_keys(self):
        made = self.owner.call("KeyService/CreateKey", {
            "parent": "tenants/-",
            "key": {"grants": [
                {"resources": {"resource": "doc/*", "actions": ["read"]}},
                {"resources": {"resource": "keyward/check", "actions": ["use"]}},
            ]},
        })
        key = made["credential"]
        # As it was an hour ago, for as long as an hour is here.
        begin = time.monotonic()
        recorded = "keyward:checks_denied:ratio5m offset 15s"

        def as_ever():
            self.assertEqual(self.check(key, key), "OK")
            return self.prometheus.value(recorded) == 0 and time.monotonic() > begin

        self.until(as_ever, PATIENCE)
        self.assertNotIn("KeywardDenialsUp", self.prometheus.firing())
        self.fires("KeywardDenialsUp", lambda: self.check(key, f"{key[:-4]}0000"))

    def test_passwords_that_are_guessed(self):
        self.owner.call(
            "UserService/CreateUser",
            {"parent": "tenants/-", "userId": "bo", "user": {"email": "bo@acme.example"}, "password": "correct horse"},
        )

        def guess():
            asked = {"email": "bo@acme.example", "password": "battery", "tenant": "tenants/acme"}
            try:
                self.owner.call("TokenService/CreateSession", asked, ())
            except Refused as refused:
                self.assertIn(refused.code, ("UNAUTHENTICATED", "RESOURCE_EXHAUSTED"))

        self.fires("KeywardSignInsThrottled", guess)

    def test_counts_that_cannot_be_written(self):
        """By a lock on the database's file that another process keeps."""
        key = self.made["masterCredential"]
        self.assertEqual(self.check(self.server.root, key), "OK")
        database = sqlite3.connect(self.folder / "keyward.db", timeout=DEADLINE, isolation_level=None)
        self.addCleanup(database.close)
        database.execute("BEGIN IMMEDIATE")
        self.addCleanup(lambda: database.in_transaction and database.execute("ROLLBACK"))
        self.fires("KeywardUsageNotWritten", lambda: self.check(self.server.root, key), outcome="failed")
        database.execute("ROLLBACK")
        self.ends("KeywardUsageNotWritten")

    def sql(self, text):
        database = sqlite3.connect(self.folder / "keyward.db", timeout=DEADLINE)
        try:
            database.executescript(text)
        finally:
            database.close()

    def create(self):
        try:
            self.owner.call("KeyService/CreateKey", {"parent": "tenants/-"})
        except Refused as refused:
            return refused.code
        return "OK"

    def test_a_first_change_that_fails(self):
        """By a constraint that the database looks at when it commits; once, of a method and code never counted before."""
        self.sql(REFUSE)
        self.assertEqual(self.create(), "UNAVAILABLE")
        self.fires("KeywardChangesFail", instance=self.server.ops)
        self.sql("DROP TRIGGER orphan")
        self.assertEqual(self.create(), "OK")
        self.ends("KeywardChangesFail")

    def test_a_first_fault_of_its_own(self):
        """By a row that the rules have let pass and the database does not take."""
        self.sql(
            "CREATE TABLE one (id INTEGER PRIMARY KEY); INSERT INTO one VALUES (1);"
            "CREATE TRIGGER again AFTER INSERT ON api_key BEGIN INSERT INTO one VALUES (1); END;"
        )
        self.assertEqual(self.create(), "INTERNAL")
        self.fires("KeywardErrors", rpc_method="keyward.v1.KeyService/CreateKey")
        self.ends("KeywardErrors")

    def test_a_ledger_that_went_back(self):
        self.assertEqual(self.create(), "OK")
        self.sql("UPDATE ledger_head SET rev = rev - 1")
        self.fires("KeywardLedgerRefused", severity="critical")
        self.fires("KeywardNotServing", instance=self.server.ops)

    def test_a_server_that_is_gone(self):
        self.server.kill()
        self.fires("KeywardGone", severity="critical")
        self.server.start()


class Replicas(Watched):
    """Two servers on PostgreSQL, with a lease of two seconds."""

    def setUp(self):
        folders = [tempfile.TemporaryDirectory() for _ in range(3)]
        for folder in folders:
            self.addCleanup(folder.cleanup)
        self.postgres = Postgres(folders[0].name)
        self.addCleanup(self.postgres.kill)
        arguments = ["--database-url", self.postgres.url, "--lease", "2s"]
        for name in ("data", "admin", "ops"):
            arguments += [f"--{name}-addr", "127.0.0.1:0"]
        given = environment(KEYWARD_DATABASE_URL=self.postgres.url)
        self.until(
            lambda: subprocess.run([PROGRAM, "migrate"], env=given, capture_output=True, timeout=DEADLINE).returncode == 0
        )
        self.servers = []
        for folder in folders[1:]:
            server = Serving(folder.name, *arguments)
            server.channel = grpc.insecure_channel
            self.addCleanup(server.kill)
            # One that is stopped would not end.
            self.addCleanup(server.process.send_signal, signal.SIGCONT)
            self.servers.append(server)
        folder = pathlib.Path(folders[1].name)
        descriptors = folder / "keyward.binpb"
        run(PROGRAM, "descriptors", "--out", descriptors, env=environment())
        self.root = Grpc(self.servers[0], Contract(descriptors), self.servers[0].root)
        self.prometheus = Prometheus(folder, [server.ops for server in self.servers], shortened)
        self.addCleanup(self.prometheus.kill)
        self.until(lambda: len(self.prometheus.series('up{job="keyward"} == 1')) == 2)

    def check(self):
        try:
            self.root.check(self.root.credential)
        except Refused as refused:
            return refused.code
        return "OK"

    def test_a_database_that_is_away(self):
        self.assertEqual(self.check(), "OK")
        self.ends("KeywardGone")
        self.assertEqual(self.prometheus.firing(), {})
        self.postgres.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.postgres.process.send_signal, signal.SIGCONT)
        # The postmaster alone: those that serve connections are stopped too.
        backends = [int(one) for one in children(self.postgres.process.pid)]
        for backend in backends:
            stop(backend)
            self.addCleanup(go_on, backend)
        self.fires("KeywardNotServing", instance=self.servers[0].ops)
        self.fires("KeywardCannotDecide", self.check)
        # Which of the two came first is not said: the spans are shortened.
        self.assertIn("KeywardLeaseOld", self.seen_firing())
        for backend in backends:
            go_on(backend)
        self.postgres.process.send_signal(signal.SIGCONT)
        self.until(lambda: self.check() == "OK", PATIENCE)
        for name in ("KeywardNotServing", "KeywardLeaseOld", "KeywardCannotDecide"):
            self.ends(name, self.check)

    def seen_firing(self):
        """The alerts that have fired at any time."""
        return {labels["alertname"] for labels, _ in self.prometheus.series('last_over_time(ALERTS{alertstate="firing"}[5m])')}

    def test_a_replica_that_is_stopped(self):
        """What is revoked then waits until that one is shut out; the one that waits says so."""
        made = self.root.call("TenantService/CreateTenant", {"tenantId": "acme", "owner": {"email": "ana@acme.example"}})
        owner = self.root.holding(made["masterCredential"])
        key = owner.call("KeyService/CreateKey", {"parent": "tenants/-"})
        self.servers[1].process.send_signal(signal.SIGSTOP)
        self.fires("KeywardReplicaUnseen", instance=self.servers[1].ops)
        settled = f'keyward_barrier_wait_seconds_count{{instance="{self.servers[0].ops}",outcome="settled"}}'
        before = self.prometheus.value(settled)
        owner.call("KeyService/RevokeKey", {"name": key["key"]["name"]})
        self.until(lambda: self.prometheus.value(settled) == before + 1)
        self.fires("KeywardRevocationsSlow")
        self.servers[1].process.send_signal(signal.SIGCONT)
        self.ends("KeywardReplicaUnseen")


    def test_a_revocation_that_nobody_waits_for_to_the_end(self):
        made = self.root.call("TenantService/CreateTenant", {"tenantId": "acme", "owner": {"email": "ana@acme.example"}})
        owner = self.root.holding(made["masterCredential"])
        name = owner.call("KeyService/CreateKey", {"parent": "tenants/-"})["key"]["name"]
        self.servers[1].process.send_signal(signal.SIGSTOP)
        path, asked, answered = messages(owner.contract, "keyward.v1.KeyService", "RevokeKey")
        with grpc.insecure_channel(self.servers[0].admin) as channel:
            call = channel.unary_unary(path, asked.SerializeToString, answered.FromString)
            with self.assertRaises(grpc.RpcError) as caught:
                # Less than the lease that the other one may still have.
                call(asked(name=name), metadata=[("authorization", f"Bearer {owner.credential}")], timeout=0.7)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.fires("KeywardRevocationsUnfinished", instance=self.servers[0].ops, outcome="unfinished")
        self.servers[1].process.send_signal(signal.SIGCONT)
        self.until(lambda: owner.call("KeyService/RevokeKey", {"name": name}))


def children(pid):
    """The processes that a process has started."""
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def stop(pid):
    subprocess.run(["kill", "-STOP", str(pid)], check=True, timeout=DEADLINE)


def go_on(pid):
    subprocess.run(["kill", "-CONT", str(pid)], check=False, capture_output=True, timeout=DEADLINE)


if __name__ == "__main__":
    unittest.main()
