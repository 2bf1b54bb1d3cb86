"""Mutual TLS with a client that is not ours: grpcio, with certificates of a private authority, and the command line."""

import datetime
import subprocess
import unittest

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stranger import DEADLINE, PROGRAM, Stranger, environment

ENVOY = "spiffe://example.org/envoy"


class MutualTls(Stranger):
    def more_arguments(self):
        self.servers, self.clients = trustme.CA(), trustme.CA()
        server = self.servers.issue_cert("127.0.0.1", "localhost")
        self.write("server.pem", b"".join(part.bytes() for part in server.cert_chain_pems))
        self.write("server.key", server.private_key_pem.bytes())
        self.write("servers.pem", self.servers.cert_pem.bytes())
        self.write("clients.pem", self.clients.cert_pem.bytes())
        self.write(
            "keyward.toml",
            f"[[clients]]\nidentity = '{ENVOY}'\ntenant = 'tenants/acme'\n"
            "[[clients]]\nidentity = 'console.example'\n".encode(),
        )
        arguments = ["--config", str(self.folder / "keyward.toml"), "--check-auth", "mtls"]
        for listener in ("data", "admin"):
            arguments += [f"--{listener}-tls-cert-file", str(self.folder / "server.pem")]
            arguments += [f"--{listener}-tls-key-file", str(self.folder / "server.key")]
            arguments += [f"--{listener}-tls-client-ca-file", str(self.folder / "clients.pem")]
        return arguments

    def credentials(self):
        return self.showing(self.clients.issue_cert("console.example"))

    def showing(self, certificate):
        """Credentials of grpcio with a certificate of the client, or without."""
        authority = self.servers.cert_pem.bytes()
        if certificate is None:
            return grpc.ssl_channel_credentials(authority)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        return grpc.ssl_channel_credentials(authority, certificate.private_key_pem.bytes(), chain)

    def write(self, name, content):
        (self.folder / name).write_bytes(content)

    def check_by(self, credentials, credential, **more):
        with grpc.secure_channel(self.server.data, credentials) as channel:
            return self.contract.call(channel, "CheckService/Check", {"credential": credential, **more})

    def spiffe(self, name):
        return self.showing(issue_uri(self.clients, name))

    def test_keys_are_issued_checked_and_revoked_over_mutual_tls(self):
        key = {"displayName": "ci", "grants": [{"resources": {"resource": "doc/*", "actions": ["read"]}}]}
        made = self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": key})
        self.assertEqual(self.owner.check(made["credential"], ("doc/1", "read")), (True, []))
        self.assertEqual(self.owner.check(made["credential"], ("doc/1", "write")), (False, ["NOT_GRANTED"]))
        listed = self.owner.call("KeyService/ListKeys", {"parent": "tenants/-"})
        self.assertIn(made["key"]["name"], [key["name"] for key in listed["keys"]])
        self.owner.call("KeyService/RevokeKey", {"name": made["key"]["name"]})
        self.assertEqual(self.owner.check(made["credential"], ("doc/1", "read")), (False, ["REVOKED"]))

    def test_a_spiffe_id_is_bound_to_its_tenant(self):
        envoy = self.spiffe(ENVOY)
        ours = self.made["masterCredential"]
        other = self.root.call(
            "TenantService/CreateTenant", {"tenantId": "other", "owner": {"email": "bo@other.example"}}
        )["masterCredential"]
        self.assertEqual(self.check_by(envoy, ours)["decision"], "DECISION_ALLOWED")
        self.assertEqual(self.check_by(envoy, other)["reasons"], ["REASON_NOT_FOUND"])
        self.refused("NOT_FOUND", self.check_by, envoy, other, tenant="tenants/other")
        self.assertEqual(self.owner.check(other), (True, []))

    def test_nobody_else_is_let_in(self):
        said = self.refused("UNAUTHENTICATED", self.check_by, self.spiffe(f"{ENVOY}2"), self.server.root)
        self.assertIn("[[clients]]", said)
        stranger = trustme.CA().issue_cert("console.example")
        for credentials in (self.showing(None), self.showing(stranger)):
            self.refused("UNAVAILABLE", self.check_by, credentials, self.server.root)
            bearer = [("authorization", f"Bearer {self.server.root}")]
            with grpc.secure_channel(self.server.admin, credentials) as channel:
                self.refused("UNAVAILABLE", self.contract.call, channel, "TenantService/ListTenants", {}, bearer)

    def test_the_command_line_shows_a_certificate(self):
        own = self.clients.issue_cert("console.example")
        self.write("own.pem", b"".join(part.bytes() for part in own.cert_chain_pems))
        self.write("own.key", own.private_key_pem.bytes())
        files = {
            "KEYWARD_TLS_CA_FILE": str(self.folder / "servers.pem"),
            "KEYWARD_TLS_CERT_FILE": str(self.folder / "own.pem"),
            "KEYWARD_TLS_KEY_FILE": str(self.folder / "own.key"),
        }
        admin = f"https://{self.server.admin}"
        listed = self.command("keys", "list", "--server", admin, **files)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        checked = self.command("check", "--server", f"https://localhost:{self.server.data.split(':')[1]}", **files)
        self.assertEqual((checked.returncode, "ALLOWED" in checked.stdout), (0, True), checked.stderr)
        # Without a certificate, and in the clear.
        refused = [
            self.command("keys", "list", "--server", admin, KEYWARD_TLS_CA_FILE=files["KEYWARD_TLS_CA_FILE"]),
            self.command("keys", "list", "--server", self.server.admin),
        ]
        self.assertEqual([done.returncode for done in refused], [3, 3], [done.stderr for done in refused])
        half = self.command("keys", "list", "--server", admin, "--tls-cert-file", files["KEYWARD_TLS_CERT_FILE"])
        self.assertEqual(half.returncode, 2)
        self.assertIn("--tls-key-file", half.stderr)

    def command(self, *arguments, **variables):
        master = self.made["masterCredential"]
        return subprocess.run(
            [PROGRAM, *arguments],
            env=environment(KEYWARD_KEY=master, KEYWARD_CREDENTIAL=master, **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )


def issue_uri(authority, uri):
    """A certificate that names a URI, which trustme does not issue by itself."""
    signer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    signing_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    return Issued(
        [trustme.Blob(certificate.public_bytes(serialization.Encoding.PEM))],
        trustme.Blob(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
    )


class Issued:
    """In the form of trustme's."""

    def __init__(self, chain, key):
        self.cert_chain_pems, self.private_key_pem = chain, key


if __name__ == "__main__":
    unittest.main()
