"""Every file in deploy/ is read by the tool that it is for, and tried with a real Keyward where that can be done here.

What no tool here can read is said where it is checked by hand: the resources of Envoy Gateway and Istio's mesh
configuration, for which no registry has a schema.
"""

import concurrent.futures
import copy
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import compose_spec
import grpc
import kubernetes_validate
import trustme
import yaml

from rest import curl
from sidecar import EXAMPLES, Sidecar, free_port, validate
from stranger import DEADLINE, PROGRAM, ROOT, CommandLine, Refused, Server, Stranger, environment, verdict

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
TOOLS = ROOT / "target" / "tools"
MODELS = TOOLS / "node_modules" / "@kubernetes-models"
KUBECTL = TOOLS / "kubectl" / "kubectl"
OVERLAYS = ("base", "overlays/production", "overlays/istio", "overlays/envoy-gateway")

# Resources whose schemas come with a package: group and the package.
MODELLED = {"security.istio.io": "istio", "gateway.networking.k8s.io": "gateway-api"}


def run(*command, **named):
    """Runs a program, which must succeed, and answers with what it printed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=2 * DEADLINE, **named
    )
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}{done.stderr}"
    return done.stdout


def flags():
    """The names that `serve` knows, as flags and in its file."""
    return set(re.findall(r"--([a-z][a-z-]+)", run(PROGRAM, "serve", "--help", env=environment())))


def rendered(overlay):
    """What `kubectl apply -k` would send."""
    return [one for one in yaml.safe_load_all(run(KUBECTL, "kustomize", KUBERNETES / overlay)) if one]


def values(value, key):
    """Every value of a key, however deep."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name == key:
                yield part
            yield from values(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from values(part, key)


class Files(unittest.TestCase):
    def test_nothing_is_left_unread(self):
        """A file that is new here needs a check of its own."""
        known = {
            "Dockerfile",
            "Dockerfile.dockerignore",
            "compose.yaml",
            "linkerd.txt",
            "envoy/compat.lua",
            "envoy/ext-authz.yaml",
            "envoy/rest-compat.yaml",
            "envoy/rest.yaml",
            "grafana/dashboard.json",
            "grpc/service-config.json",
            "prometheus/prometheus.yaml",
            "prometheus/rules-test.yaml",
            "prometheus/rules.yaml",
            "prometheus/runbook.md",
            "systemd/keyward.service",
            *(
                f"kubernetes/base/{name}"
                for name in (
                    "deployment.yaml",
                    "disruption.yaml",
                    "keyward.toml",
                    "kustomization.yaml",
                    "migrate.yaml",
                    "network.yaml",
                    "serviceaccount.yaml",
                    "services.yaml",
                )
            ),
            "kubernetes/overlays/production/kustomization.yaml",
            *(
                f"kubernetes/overlays/istio/{name}"
                for name in ("keyward.toml", "kustomization.yaml", "mesh.yaml", "peers.yaml", "shop.yaml")
            ),
            *(
                f"kubernetes/overlays/envoy-gateway/{name}"
                for name in ("gateway.yaml", "keyward.toml", "kustomization.yaml", "route.yaml", "security.yaml")
            ),
        }
        self.assertEqual({str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}, known)

    def test_no_secret_is_in_them(self):
        for path in DEPLOY.rglob("*"):
            if path.is_file():
                text = path.read_text()
                self.assertNotRegex(text, r"kw_[0-9A-Za-z]{8,}_", path)
                self.assertNotIn("PRIVATE KEY", text, path)

    def test_the_image(self):
        run(pathlib.Path(sys.executable).parent / "hadolint", "--no-color", DEPLOY / "Dockerfile")
        lines = (DEPLOY / "Dockerfile").read_text().splitlines()
        bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
        for base in bases:
            self.assertRegex(base, r":(?!latest$)[\w.-]+$", "every base has a tag")
        last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
        self.assertIn("USER 65532:65532", last)
        self.assertFalse([line for line in last if line.startswith("RUN")], "there is no shell to run anything")
        kept = {
            line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
        }
        self.assertLessEqual({"Cargo.toml", "Cargo.lock", "build.rs", "proto", "src"}, kept)
        for name in kept:
            self.assertTrue((ROOT / name).exists(), name)

    def test_the_service_of_systemd(self):
        """By systemd's own readers; that it starts so cannot be seen where systemd is not the first process."""
        unit = (DEPLOY / "systemd" / "keyward.service").read_text()
        (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        self.assertLessEqual(set(re.findall(r" --([a-z-]+)", start)), flags())
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "keyward.service"

            def judged(text):
                file.write_text(text.replace("/usr/local/bin/keyward ", f"{PROGRAM} "))
                done = [
                    subprocess.run(
                        ["systemd-analyze", *command, file], capture_output=True, text=True, timeout=2 * DEADLINE
                    )
                    for command in (("verify", "--man=no"), ("security", "--offline=true", "--threshold=15"))
                ]
                return [one.returncode == 0 and not re.search("Unknown|Failed", one.stderr) for one in done]

            self.assertEqual(judged(unit), [True, True], "sound, and exposed by 1.5 of 10 at most")
            self.assertFalse(judged(unit.replace("ProtectClock", "ProtectClocks"))[0])
            self.assertEqual(judged(unit.replace("CapabilityBoundingSet=\n", "")), [True, False])

    def test_compose(self):
        """By a reader of the Compose specification: `docker compose` is in no registry of packages."""
        compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        compose_spec.PyCompose.from_json(json.dumps(compose))
        broken = copy.deepcopy(compose)
        broken["services"]["keyward"]["readonly"] = True
        with self.assertRaises(ValueError):
            compose_spec.PyCompose.from_json(json.dumps(broken))
        services = compose["services"]
        for name, service in services.items():
            self.assertRegex(service["image"], r":[\w.-]*\d", name)
            for variable, value in service.get("environment", {}).items():
                if "PASSWORD" in variable or "URL" in variable:
                    self.assertIn("${POSTGRES_PASSWORD:?", value, "a secret is given, or nothing starts")
            for needed in service.get("depends_on", {}):
                self.assertIn(needed, services)
            for volume in service.get("volumes", []):
                self.assertIn(volume.split(":")[0], compose["volumes"])
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)
        for name in ("migrate", "keyward"):
            service = services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["build"]["dockerfile"], "deploy/Dockerfile")
        known = flags()
        for variable in services["keyward"]["environment"]:
            self.assertIn(variable.removeprefix("KEYWARD_").replace("_", "-").lower(), known)
        self.assertGreater(int(services["keyward"]["stop_grace_period"].removesuffix("s")), 10)

    def test_what_is_said_of_linkerd_names_what_there_is(self):
        for path in re.findall(r"\b(?:envoy|grpc|kubernetes)/[\w./-]*\w", (DEPLOY / "linkerd.txt").read_text()):
            self.assertTrue((DEPLOY / path).exists(), path)


class Health(Stranger):
    def test_the_containers_own_check_tells_whether_it_serves(self):
        test = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["keyward"]["healthcheck"]["test"]
        [line] = re.findall(r'CMD (\[.*"health".*\])', (DEPLOY / "Dockerfile").read_text())
        self.assertEqual(json.loads(line)[1:], test[2:])
        command = [PROGRAM, *[self.server.ops if part.endswith(":50053") else part for part in test[2:]]]
        self.assertEqual(run(*command, env=environment()), "serving\n")
        self.server.kill()
        done = subprocess.run(command, env=environment(), capture_output=True, timeout=DEADLINE)
        self.assertEqual(done.returncode, 3)


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {overlay: rendered(overlay) for overlay in OVERLAYS}

    def one(self, overlay, kind, name="keyward"):
        [found] = [
            one for one in self.rendered[overlay] if one["kind"] == kind and re.fullmatch(name, one["metadata"]["name"])
        ]
        return found

    def test_kubernetes_own_resources_have_their_schemas(self):
        count = 0
        for overlay, resources in self.rendered.items():
            for one in resources:
                group = one["apiVersion"].rpartition("/")[0]
                if "." in group and not group.endswith(".k8s.io") or group in MODELLED:
                    continue
                kubernetes_validate.validate(one, "1.37", strict=True)
                count += 1
        self.assertGreater(count, 30)
        broken = copy.deepcopy(self.one("base", "Deployment"))
        broken["spec"]["replica"] = 3
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, "1.37", strict=True)

    def test_istio_and_gateway_resources_have_their_schemas(self):
        resources = [
            {"package": MODELLED[one["apiVersion"].split("/")[0]], "resource": one}
            for overlay in OVERLAYS
            for one in self.rendered[overlay]
            if one["apiVersion"].split("/")[0] in MODELLED
        ]
        kinds = {one["resource"]["kind"] for one in resources}
        self.assertEqual(
            kinds,
            {
                "PeerAuthentication",
                "AuthorizationPolicy",
                "GatewayClass",
                "Gateway",
                "HTTPRoute",
                "BackendTLSPolicy",
                "ReferenceGrant",
            },
        )
        wrong = copy.deepcopy(next(one for one in resources if one["resource"]["kind"] == "AuthorizationPolicy"))
        wrong["resource"]["spec"]["action"] = "MAYBE"
        script = """
            import { pathToFileURL } from "node:url";
            const told = [];
            for (const { package: name, resource } of JSON.parse(process.argv[2])) {
              const path = `${process.argv[1]}/${name}/${resource.apiVersion}/index.js`;
              const kinds = await import(pathToFileURL(path));
              try { new kinds[resource.kind](resource).validate(); told.push(""); }
              catch (error) { told.push(String(error)); }
            }
            console.log(JSON.stringify(told));
        """
        told = json.loads(run("node", "--input-type=module", "--eval", script, MODELS, json.dumps([*resources, wrong])))
        self.assertEqual(told[:-1], [""] * len(resources))
        self.assertNotEqual(told[-1], "", "the schemas find a mistake")

    def test_envoy_gateways_own_resources(self):
        """By hand: no registry has their schemas. The names are those of its API, version v1alpha1."""
        policy = self.one("overlays/envoy-gateway", "SecurityPolicy")
        route = self.one("overlays/envoy-gateway", "HTTPRoute", "maps")
        self.assertEqual(policy["apiVersion"], "gateway.envoyproxy.io/v1alpha1")
        self.assertEqual(policy["metadata"]["namespace"], route["metadata"]["namespace"])
        self.assertEqual(set(policy["spec"]), {"targetRefs", "extAuth"})
        [target] = policy["spec"]["targetRefs"]
        self.assertEqual(target, {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "maps"})
        service = self.one("overlays/envoy-gateway", "Service", "keyward-data")
        backend = {"name": "keyward-data", "namespace": "keyward", "port": service["spec"]["ports"][0]["port"]}
        self.assertEqual(
            policy["spec"]["extAuth"], {"failOpen": False, "timeout": "250ms", "grpc": {"backendRefs": [backend]}}
        )
        grant = self.one("overlays/envoy-gateway", "ReferenceGrant", "keyward-data")
        self.assertEqual(grant["spec"]["from"][0]["kind"], "SecurityPolicy")
        proxy = self.one("overlays/envoy-gateway", "EnvoyProxy")
        self.assertEqual(set(proxy["spec"]), {"backendTLS"})
        self.assertEqual(set(proxy["spec"]["backendTLS"]), {"clientCertificateRef", "minVersion"})
        reference = self.one("overlays/envoy-gateway", "GatewayClass")["spec"]["parametersRef"]
        self.assertEqual((reference["kind"], reference["name"]), ("EnvoyProxy", proxy["metadata"]["name"]))
        self.assertEqual(reference["namespace"], proxy["metadata"]["namespace"])

    def test_istios_mesh_configuration(self):
        """By hand: istiod reads it, and no registry has its schema. The names are those of MeshConfig."""
        [provider] = yaml.safe_load((KUBERNETES / "overlays/istio/mesh.yaml").read_text())["meshConfig"][
            "extensionProviders"
        ]
        authorizer = provider["envoyExtAuthzGrpc"]
        self.assertEqual(set(authorizer), {"service", "port", "timeout", "statusOnError", "failOpen"})
        self.assertEqual(
            (authorizer["timeout"], authorizer["statusOnError"], authorizer["failOpen"]), ("0.25s", "503", False)
        )
        service = self.one("overlays/istio", "Service", "keyward-data")
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        self.assertEqual(authorizer["service"], f"{name}.{namespace}.svc.cluster.local")
        self.assertEqual(authorizer["port"], service["spec"]["ports"][0]["port"])
        custom = [
            one
            for one in self.rendered["overlays/istio"]
            if one["kind"] == "AuthorizationPolicy" and one["spec"]["action"] == "CUSTOM"
        ]
        self.assertEqual([one["spec"]["provider"]["name"] for one in custom], [provider["name"]])

    def test_pods_are_not_root_and_change_nothing(self):
        for overlay in OVERLAYS:
            for kind, name in (("Deployment", "keyward"), ("Job", "keyward-migrate")):
                pod = self.one(overlay, kind, name)["spec"]["template"]["spec"]
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertIs(pod["automountServiceAccountToken"], False)
                self.assertIs(pod["enableServiceLinks"], False)
                for container in [*pod["containers"], *pod.get("initContainers", [])]:
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertIs(context["readOnlyRootFilesystem"], True)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertIn("memory", container["resources"]["limits"])
                    self.assertRegex(container["image"], r":\d")

    def test_what_is_mounted_is_there_and_secrets_are_not(self):
        for overlay in OVERLAYS:
            self.assertNotIn("Secret", {one["kind"] for one in self.rendered[overlay]})
            pod = self.one(overlay, "Deployment")["spec"]["template"]["spec"]
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            mounted = {
                mount["name"] for one in [*pod["containers"], *pod["initContainers"]] for mount in one["volumeMounts"]
            }
            self.assertEqual(mounted, set(volumes), overlay)
            configuration = self.one(overlay, "ConfigMap", "keyward-config-.*")
            self.assertEqual(volumes["config"]["configMap"]["name"], configuration["metadata"]["name"])
            self.assertEqual(volumes["run"]["emptyDir"]["medium"], "Memory", "root's credential touches no disk")
            paths = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
            for path in re.findall(r'(?m)^[a-z-]+-(?:file|dir) = "(/[^"]+)"', configuration["data"]["keyward.toml"]):
                self.assertTrue([one for one in paths if path.startswith(f"{one}/")], (overlay, path))

    def test_settings_are_known_to_the_server(self):
        known = flags()
        for overlay in OVERLAYS:
            text = self.one(overlay, "ConfigMap", "keyward-config-.*")["data"]["keyward.toml"]
            for name in re.findall(r"(?m)^([a-z-]+) = ", text.split("[[")[0]):
                self.assertIn(name, known, overlay)
            container = self.one(overlay, "Deployment")["spec"]["template"]["spec"]["containers"][0]
            for name in [one[2:] for one in container["args"] if one.startswith("--")]:
                self.assertIn(name, known)
            for variable in container["env"]:
                self.assertIn(variable["name"].removeprefix("KEYWARD_").replace("_", "-").lower(), known)

    def test_it_ends_in_time_and_one_at_a_time(self):
        for overlay in OVERLAYS:
            deployment = self.one(overlay, "Deployment")["spec"]
            pod = deployment["template"]["spec"]
            [container] = pod["containers"]
            sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.assertGreater(pod["terminationGracePeriodSeconds"], sleep + 10)
            self.assertEqual(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0)
            self.assertGreater(deployment["replicas"], 1)
            budget = self.one(overlay, "PodDisruptionBudget")["spec"]
            labels = deployment["template"]["metadata"]["labels"]
            selectors = [budget["selector"]["matchLabels"], deployment["selector"]["matchLabels"]]
            selectors += [one["spec"]["selector"] for one in self.rendered[overlay] if one["kind"] == "Service"]
            for selector in selectors:
                self.assertLessEqual(selector.items(), labels.items())
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            for one in self.rendered[overlay]:
                if one["kind"] == "Service":
                    for port in one["spec"]["ports"]:
                        self.assertEqual(ports[port["targetPort"]], port["port"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertIn(container[probe]["httpGet"]["port"], ports)


class Serving(Server):
    """`keyward serve` with these arguments and no others, but for where it writes root's credential."""

    def __init__(self, folder, *arguments):
        self.folder, self.arguments = pathlib.Path(folder), [str(part) for part in arguments]
        self.start()

    def start(self):
        path = self.folder / "root.key"
        path.unlink(missing_ok=True)
        command = [PROGRAM, "serve", "--root-key-file", str(path), "--log-format", "json", *self.arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        log = []
        for line in self.process.stderr:
            log.append(line)
            if '"serving"' in line:
                break
        else:
            raise AssertionError(f"the server ended before it served ({self.process.wait()}):\n{''.join(log)}")
        fields = json.loads(log[-1])["fields"]
        self.data, self.admin, self.ops = fields["data"], fields["admin"], fields["ops"]
        self.reader = threading.Thread(target=self.process.stderr.read)
        self.reader.start()
        # Only the first server on a database has one to write.
        self.root = path.read_text().strip() if path.exists() else None


class Configured(unittest.TestCase):
    """A real server with the configuration of each overlay, on SQLite and other ports."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_each_overlays_file_is_taken(self):
        authority = trustme.CA()
        (self.folder / "ca.crt").write_bytes(authority.cert_pem.bytes())
        certificate = authority.issue_cert("keyward-data.keyward.svc.cluster.local")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (self.folder / "tls.key").write_bytes(certificate.private_key_pem.bytes())
        for overlay in ("base", "overlays/istio", "overlays/envoy-gateway"):
            with self.subTest(overlay):
                text = (KUBERNETES / overlay / "keyward.toml").read_text()
                text = text.replace("/etc/keyward/tls", str(self.folder)).replace("/run/keyward", str(self.folder))
                text = text.replace("/var/lib/keyward", str(self.folder)).replace("0.0.0.0:5005", "127.0.0.1:0#")
                text = re.sub(r"127\.0\.0\.1:0#\d", "127.0.0.1:0", text)
                path = self.folder / f"{overlay.replace('/', '-')}.toml"
                path.write_text(text)
                (self.folder / "master.key").unlink(missing_ok=True)
                (self.folder / "master.key").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
                (self.folder / "master.key").chmod(0o400)
                server = Serving(self.folder, "--config", path, "--database-url", f"sqlite:{path.with_suffix('.db')}")
                self.addCleanup(server.kill)
                with urllib.request.urlopen(f"http://{server.ops}/readyz", timeout=DEADLINE) as answer:
                    self.assertEqual(answer.status, 200)
                self.assertEqual(server.terminate(), 0)


class Postgres:
    """A PostgreSQL that only this user reaches, by a socket in its folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))[-1]
        # It refuses to be root.
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if user:
            shutil.chown(self.folder, "postgres", "postgres")
        data = self.folder / "data"
        run(
            programs / "initdb",
            "-D",
            data,
            "-U",
            "keyward",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            cwd=self.folder,
            **user,
        )
        self.port = free_port()
        command = [programs / "postgres", "-D", data, "-p", self.port, "-c", "listen_addresses=127.0.0.1"]
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(
            [str(part) for part in [*command, "-c", f"unix_socket_directories={self.folder}"]],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            **user,
        )
        self.url = f"postgres://keyward@127.0.0.1:{self.port}/postgres"

    def kill(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(DEADLINE)
        self.log.close()


class FirstStart(unittest.TestCase):
    """What the operator of the Kubernetes base does on an empty database."""

    def test_replicas_race_and_the_operator_takes_root(self):
        folders = [tempfile.TemporaryDirectory() for _ in range(4)]
        for folder in folders:
            self.addCleanup(folder.cleanup)
        postgres = Postgres(folders[0].name)
        self.addCleanup(postgres.kill)
        given = environment(KEYWARD_DATABASE_URL=postgres.url)
        [job] = [one for one in rendered("base") if one["kind"] == "Job"]
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        deadline = time.monotonic() + DEADLINE
        while subprocess.run([PROGRAM, *arguments], env=given, capture_output=True, timeout=DEADLINE).returncode != 0:
            self.assertLess(time.monotonic(), deadline, (postgres.folder / "log").read_text())

        anywhere = [part for name in ("data", "admin", "ops") for part in (f"--{name}-addr", "127.0.0.1:0")]
        start = lambda folder: Serving(folder.name, "--database-url", postgres.url, *anywhere)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            replicas = list(pool.map(start, folders[1:]))
        for replica in replicas:
            self.addCleanup(replica.kill)
        [first] = [replica.root for replica in replicas if replica.root]
        [deployment] = [one for one in rendered("base") if one["kind"] == "Deployment"]
        self.assertNotIn("KEYWARD_ROOT_KEY_FILE", str(deployment), "it would take what the operator is to see")
        told = run(PROGRAM, "root", "rotate", env=given)
        [second] = re.findall(r"\bkw_\w+", told)
        for replica in replicas:
            line = CommandLine(replica, second)
            self.assertEqual(len(line.run("replicas", "list")["replicas"]), 3)
            with self.assertRaises(Refused) as caught:
                line.holding(first).run("replicas", "list")
            self.assertEqual(caught.exception.code, "UNAUTHENTICATED")
        self.assertEqual([replica.terminate() for replica in replicas], [0, 0, 0])


class Telemetry(Stranger):
    """promtool reads the rules and the dashboard's queries; what they name is in a live /metrics."""

    def more_arguments(self):
        # Without a certificate there is nothing to tell of one.
        made = trustme.CA().issue_cert("localhost")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        (self.folder / "tls.key").write_bytes(made.private_key_pem.bytes())
        return ["--data-tls-cert-file", str(self.folder / "tls.crt"), "--data-tls-key-file", str(self.folder / "tls.key")]

    def expressions(self):
        dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
        found = list(values(dashboard["panels"], "expr"))
        self.assertGreater(len(found), 20)
        return [one.replace("$__rate_interval", "5m") for one in found]

    def rules(self):
        groups = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text())["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def test_the_rules_are_good_and_fire(self):
        run("promtool", "check", "rules", DEPLOY / "prometheus/rules.yaml")
        run("promtool", "test", "rules", DEPLOY / "prometheus/rules-test.yaml")
        for rule in self.rules():
            if "alert" in rule:
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description"})

    def test_each_alert_is_in_the_runbook_and_nothing_else_is(self):
        text = (DEPLOY / "prometheus/runbook.md").read_text()
        _, *sections = re.split(r"(?m)^## ", text)
        told = {section.partition("\n")[0]: section for section in sections}
        self.assertEqual(list(told), [rule["alert"] for rule in self.rules() if "alert" in rule])
        for name, section in told.items():
            parts = re.findall(r"(?m)^- \*\*(\w+)\*\*: \S", section)
            self.assertEqual(parts, ["Means", "Look", "Do"], name)
        commands = set(re.findall(r"`keyward ([a-z]+(?: [a-z][a-z-]*)?)", text))
        self.assertGreater(len(commands), 5)
        for command in commands:
            run(PROGRAM, *command.split(), "--help", env=environment())
        for flag in re.findall(r"`--([a-z-]+)", text):
            self.assertIn(flag, flags())

    def test_the_configuration_of_prometheus_is_good(self):
        """It is run in prometheus.py."""
        run("promtool", "check", "config", DEPLOY / "prometheus/prometheus.yaml")

    def test_the_dashboards_queries_are_good(self):
        rules = [{"record": f"dashboard:{number}", "expr": one} for number, one in enumerate(self.expressions())]
        path = self.folder / "dashboard.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        run("promtool", "check", "rules", path)
        rules[0]["expr"] += " )"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        with self.assertRaises(AssertionError):
            run("promtool", "check", "rules", path)

    def test_the_dashboard_has_a_panel_in_each_place(self):
        dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
        panels = dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertLess(x, 24)
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken.add((x, y))
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"]["uid"], "${datasource}")

    def test_every_metric_and_label_is_in_a_live_server(self):
        with urllib.request.urlopen(f"http://{self.server.ops}/metrics", timeout=DEADLINE) as answer:
            text = answer.read().decode()
        labels, shown = {}, {}
        for name, given in re.findall(r"(?m)^([a-z_]+)(?:\{([^}]*)\})? ", text):
            labels.setdefault(name, {"instance", "job"})
            for label, value in re.findall(r'(\w+)="([^"]*)"', given):
                labels[name].add(label)
                shown.setdefault((name, label), set()).add(value)
        recorded = {rule["record"] for rule in self.rules() if "record" in rule}
        count = 0
        for expression in [*self.expressions(), *(rule["expr"] for rule in self.rules())]:
            plain = re.sub(r"\s+", " ", expression)
            for name in re.findall(r"\bkeyward:[\w:]+", plain):
                self.assertIn(name, recorded)
            for name, asked in re.findall(r"(?<![\w:])((?:keyward|rpc)_[a-z_]+)\b(?!:)(?:\s*\{([^}]*)\})?", plain):
                if name in ("rpc_method", "rpc_response_status_code"):
                    continue
                self.assertIn(name, labels, expression)
                count += 1
                for label, how, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', asked):
                    self.assertIn(label, labels[name], expression)
                    if how == "=" and label not in ("rpc_response_status_code", "instance"):
                        self.assertIn(value, shown[name, label], expression)
        self.assertGreater(count, 40)


class ServiceConfiguration(Stranger):
    """deploy/grpc/service-config.json, as grpcio takes it."""

    def test_every_method_in_it_is_in_the_contract(self):
        configuration = json.loads((DEPLOY / "grpc/service-config.json").read_text())
        for entry in configuration["methodConfig"]:
            for name in entry["name"]:
                service = self.contract.pool.FindServiceByName(name["service"])
                if "method" in name:
                    self.assertIn(name["method"], service.methods_by_name)

    def check(self, configuration):
        options = [("grpc.service_config", json.dumps(configuration))]
        with grpc.insecure_channel(self.server.data, options=options) as channel:
            return verdict(self.contract.call(channel, "CheckService/Check", {"credential": self.owner.credential}))

    def test_a_client_checks_by_it_and_asks_for_health_first(self):
        configuration = json.loads((DEPLOY / "grpc/service-config.json").read_text())
        self.assertEqual(self.check(configuration), (True, []))
        for method in configuration["methodConfig"]:
            method.pop("waitForReady")
        self.assertEqual(self.check(configuration), (True, []))
        # Only a client that balances and looks at health as it is told gives up on a service that is not there.
        configuration["healthCheckConfig"]["serviceName"] = "keyward.v1.NobodyService"
        self.refused("UNAVAILABLE", self.check, configuration)

    def test_a_mistake_in_it_is_found(self):
        configuration = json.loads((DEPLOY / "grpc/service-config.json").read_text())
        configuration["methodConfig"][0]["retryPolicy"]["maxAttempts"] = "three"
        self.refused("INVALID_ARGUMENT", self.check, configuration)


class Upstream(http.server.BaseHTTPRequestHandler):
    """A service that says what it got."""

    def do_GET(self):
        body = json.dumps(
            {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Guarded(Stranger):
    """curl, Envoy with deploy/envoy/ext-authz.yaml, and a service; Envoy asks a Keyward with TLS."""

    def certificate(self, name, *identities):
        """A certificate for these, in two files."""
        chain, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        made = self.authority.issue_cert(*identities)
        chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return chain, key

    def check_auth(self):
        """How Keyward is told who may ask."""
        raise NotImplementedError

    def mail_arguments(self):
        self.authority = trustme.CA()
        (self.folder / "ca.pem").write_bytes(self.authority.cert_pem.bytes())
        chain, key = self.certificate("server", "keyward-data.keyward.svc.cluster.local")
        files = ["--data-tls-cert-file", str(chain), "--data-tls-key-file", str(key)]
        return ["--mail-dir", str(self.folder / "mail"), *files, *self.check_auth()]

    def setUp(self):
        super().setUp()
        self.upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        thread = threading.Thread(target=self.upstream.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.upstream.server_close)
        self.addCleanup(self.upstream.shutdown)
        self.key = self.issue("apis/maps", "use")

    def start(self, credential="", edit=None):
        """Envoy, which shows Keyward this credential."""
        there = {9000: f"127.0.0.1:{self.upstream.server_port}", 50051: self.server.data}
        self.sidecar = Sidecar("ext-authz.yaml", self.folder, there, edit, KEYWARD_CREDENTIAL=credential)
        self.addCleanup(self.sidecar.kill)
        self.at = self.sidecar.url(8080)

    def again(self, *arguments):
        """Another Envoy in the place of the first."""
        self.sidecar.kill()
        shutil.rmtree(self.sidecar.folder)
        self.start(*arguments)

    def issue(self, resource, action):
        key = {"grants": [{"resources": {"resource": resource, "actions": [action]}}]}
        return self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": key})["credential"]


class ByCertificate(Guarded):
    """With the lines that are commented in the example, in the place of the credential."""

    def check_auth(self):
        path = self.folder / "clients.toml"
        path.write_text('[[clients]]\nidentity = "gateway.keyward.example"\ntenant = "tenants/acme"\n')
        return ["--check-auth", "mtls", "--data-tls-client-ca-file", str(self.folder / "ca.pem"), "--config", str(path)]

    def edit(self, config):
        text = (EXAMPLES / "ext-authz.yaml").read_text()
        [lines] = re.findall(r"# With mutual TLS:\n((?: *# .*\n)+)", text)
        for context in values(config, "common_tls_context"):
            context.update(yaml.safe_load(re.sub(r"(?m)^ *# ", "", lines)))
        for service in values(config, "grpc_service"):
            del service["initial_metadata"]

    def test_envoy_is_known_by_its_certificate(self):
        self.certificate("tls", "gateway.keyward.example")
        self.start(edit=self.edit)
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 200)
        self.assertEqual(curl(f"{self.at}/maps/1").status, 401)
        self.certificate("tls", "other.keyward.example")
        self.again("", self.edit)
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 503)


class ByCredential(Guarded):
    def check_auth(self):
        return ["--check-auth", "bearer"]

    def setUp(self):
        super().setUp()
        self.start(self.issue("keyward/check", "use"))

    def test_who_may_pass(self):
        passed = curl(f"{self.at}/maps/1", "-H", "x-keyward-user: tenants/acme/users/spoofed", key=self.key)
        self.assertEqual(passed.status, 200, passed)
        headers = passed.body["headers"]
        self.assertEqual(headers["x-keyward-tenant"], "tenants/acme")
        self.assertNotEqual(headers.get("x-keyward-user"), "tenants/acme/users/spoofed")
        self.assertNotIn("authorization", headers)
        missing = curl(f"{self.at}/maps/1")
        self.assertEqual(missing.status, 401, missing)
        self.assertEqual(curl(f"{self.at}/maps/1", key=f"{self.key}x").status, 401)
        other = curl(f"{self.at}/elsewhere", key=self.key)
        self.assertEqual(other.status, 403, other)
        by_path = self.issue("http/**", "get")
        self.assertEqual(curl(f"{self.at}/elsewhere", key=by_path).status, 200)
        self.assertEqual(curl(f"{self.at}/beta/1", key=self.key).status, 200, "a shadow run denies nobody")

    def test_a_revoked_key_is_refused_by_the_next_request(self):
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 200)
        self.owner.call("KeyService/RevokeCredentials", {"credentials": [self.key]})
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 401)

    def test_nobody_passes_an_envoy_that_keyward_does_not_know(self):
        self.again(self.key)
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 503)

    def test_a_keyward_that_envoy_does_not_know_is_not_asked(self):
        (self.folder / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
        self.again(self.issue("keyward/check", "use"))
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 503)

    def test_without_keyward_nobody_passes_and_it_is_no_denial(self):
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 200)
        self.server.kill()
        self.assertEqual(curl(f"{self.at}/maps/1", key=self.key).status, 503)

    def test_what_is_open_passes_without_an_identity(self):
        passed = curl(f"{self.at}/healthz", "-H", "x-keyward-user: tenants/acme/users/spoofed")
        self.assertEqual(passed.status, 200, passed)
        self.assertNotIn("x-keyward-user", passed.body["headers"])


class Envoy(Stranger):
    def test_every_example_is_valid(self):
        authority = trustme.CA()
        (self.folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
        examples = sorted(EXAMPLES.glob("*.yaml"))
        self.assertEqual([path.name for path in examples], ["ext-authz.yaml", "rest-compat.yaml", "rest.yaml"])
        for path in EXAMPLES.iterdir():
            shutil.copy(path, self.folder)
        for path in examples:
            self.assertEqual(validate(path, self.folder), "", path.name)
        broken = self.folder / "broken.yaml"
        broken.write_text(examples[0].read_text().replace("failure_mode_allow", "failure_mode_alow"))
        self.assertNotEqual(validate(broken, self.folder), "")

    def test_ext_authz_fails_closed_and_in_time(self):
        config = yaml.safe_load((EXAMPLES / "ext-authz.yaml").read_text())
        [authorizer] = [one for one in values(config, "typed_config") if one["@type"].endswith("ext_authz.v3.ExtAuthz")]
        self.assertIs(authorizer["failure_mode_allow"], False)
        self.assertEqual(authorizer["status_on_error"], {"code": "ServiceUnavailable"})
        self.assertEqual(authorizer["grpc_service"]["timeout"], "0.25s")

    def test_the_two_rest_examples_differ_in_what_they_say_only(self):
        rest, compat = (yaml.safe_load((EXAMPLES / name).read_text()) for name in ("rest.yaml", "rest-compat.yaml"))
        [manager] = [one for one in values(compat, "typed_config") if "http_filters" in one]
        self.assertEqual(manager["http_filters"].pop(0)["name"], "envoy.filters.http.lua")
        self.assertEqual(compat["static_resources"]["clusters"].pop()["name"], "self")
        self.assertEqual(rest, compat)


if __name__ == "__main__":
    unittest.main()
