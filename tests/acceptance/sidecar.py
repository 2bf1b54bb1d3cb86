"""A real Envoy that runs one of the examples in deploy/envoy, with nothing changed but addresses."""

import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import envoy
import yaml

from stranger import DEADLINE, ROOT, environment

PROGRAM = str(pathlib.Path(envoy.__file__).parent / "_bin" / "envoy")
EXAMPLES = ROOT / "deploy" / "envoy"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def addresses(value):
    """Every `socket_address` in an Envoy configuration."""
    if isinstance(value, dict):
        if "socket_address" in value:
            yield value["socket_address"]
        for part in value.values():
            yield from addresses(part)
    elif isinstance(value, list):
        for part in value:
            yield from addresses(part)


def validate(path, folder):
    """What `envoy --mode validate` says of a configuration whose files are in `folder`; empty if it is good."""
    done = subprocess.run(
        [PROGRAM, "--mode", "validate", "-c", str(path), "--log-level", "error"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


class Sidecar:
    """Envoy with an example; `there` says where the ports that the example names really are, as `host:port`."""

    def __init__(self, example, folder, there, edit=None, **variables):
        self.folder = pathlib.Path(folder) / f"envoy-{example}"
        self.folder.mkdir()
        for beside in EXAMPLES.iterdir():
            shutil.copy(beside, self.folder)
        for beside in pathlib.Path(folder).iterdir():
            if beside.suffix in (".binpb", ".pem") or beside.name in ("tls.crt", "tls.key"):
                shutil.copy(beside, self.folder)
        self.process, self.variables = None, variables
        # Another process may take a port between our looking and Envoy's binding it.
        for _ in range(5):
            if self.start(example, there, edit):
                return
        raise AssertionError(f"Envoy does not start:\n{(self.folder / 'log').read_text()}")

    def start(self, example, there, edit):
        config = yaml.safe_load((EXAMPLES / example).read_text())
        self.ports = {}
        for listener in config["static_resources"]["listeners"]:
            self.ports[listener["address"]["socket_address"]["port_value"]] = free_port()
            listener["enable_reuse_port"] = False
        for address in addresses(config):
            port = address["port_value"]
            if port in self.ports:
                address.update(address="127.0.0.1", port_value=self.ports[port])
            else:
                host, _, real = there[port].rpartition(":")
                address.update(address=host, port_value=int(real))
        if edit:
            edit(config)
        config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(config))
        admin = self.folder / "admin"
        admin.unlink(missing_ok=True)
        log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(path), "--disable-hot-restart", "--use-dynamic-base-id"]
            + ["--concurrency", "1", "--log-level", "warning", "--admin-address-path", str(admin)],
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            if admin.exists() and self.is_ready(admin.read_text()):
                return True
            assert time.monotonic() < deadline, f"Envoy is not ready:\n{(self.folder / 'log').read_text()}"
            time.sleep(0.02)
        return False

    @staticmethod
    def is_ready(admin):
        try:
            with urllib.request.urlopen(f"http://{admin}/ready", timeout=DEADLINE) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ValueError):
            return False

    def url(self, port):
        """Where the listener is that the example puts on `port`."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def log(self):
        return (self.folder / "log").read_text()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
