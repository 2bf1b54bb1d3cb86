"""Mail to an SMTP server that is not ours: STARTTLS, a private authority, and a user with a password."""

import email
import email.policy
import socket
import ssl
import time
import unittest

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from stranger import DEADLINE, Stranger

PASSWORD = "p@ss/w:rd ä"


def free_port():
    """A port that nobody listens on: the receiver connects to itself by its number, and cannot be left to choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Inbox:
    """Keeps what comes in over TLS from somebody who has shown the password."""

    def __init__(self):
        self.mails, self.attempts = [], []

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((session.ssl is not None, session.authenticated, envelope.rcpt_tos, mail))
        return "250 kept"

    def authenticate(self, server, session, envelope, mechanism, data):
        shown = (data.login.decode(), data.password.decode())
        self.attempts.append((session.ssl is not None, shown))
        return AuthResult(success=shown == ("kay@acme.example", PASSWORD))


class Smtp(Stranger):
    implicit = False

    def mail_arguments(self):
        self.authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("localhost").configure_cert(context)
        self.inbox = Inbox()
        self.receiver = Controller(
            self.inbox,
            hostname="127.0.0.1",
            port=free_port(),
            server_hostname="localhost",
            authenticator=self.inbox.authenticate,
            auth_required=True,
            tls_context=context,
            require_starttls=True,
        )
        self.receiver.start()
        self.addCleanup(self.receiver.stop)
        port = self.receiver.port
        self.write("ca.pem", self.authority.cert_pem.bytes())
        self.write("password", PASSWORD.encode() + b"\n")
        return [
            "--smtp-url",
            f"smtp://kay%40acme.example@localhost:{port}?tls=required",
            "--smtp-password-file",
            str(self.folder / "password"),
            "--smtp-ca-file",
            str(self.folder / "ca.pem"),
            "--mail-from",
            "Keyward <keyward@acme.example>",
        ]

    def write(self, name, content):
        (self.folder / name).write_bytes(content)

    def create(self):
        made = self.owner.call(
            "ApplicationService/CreateApplication", {"parent": "tenants/-", "applicationId": "billing"}
        )
        return made["application"]["name"]

    def until(self, is_so):
        deadline = time.monotonic() + DEADLINE
        while not is_so():
            self.assertLess(time.monotonic(), deadline, repr(self.inbox.attempts))
            time.sleep(0.02)

    def test_a_token_arrives_over_tls_and_verifies(self):
        name = self.create()
        self.until(lambda: self.inbox.mails)
        (is_encrypted, is_authenticated, recipients, mail), = self.inbox.mails
        self.assertTrue(is_encrypted and is_authenticated)
        self.assertEqual(recipients, ["ana@acme.example"])
        self.assertEqual(mail["From"], "Keyward <keyward@acme.example>")
        self.assertEqual(mail["To"], "ana@acme.example")
        self.assertTrue(mail["Message-ID"].strip().endswith("@acme.example>"), mail["Message-ID"])
        self.assertEqual(mail.get_content_type(), "text/plain")
        token, = [line for line in mail.get_content().splitlines() if not set(line) & {" ", "/"}]
        verified = self.owner.call(
            "ApplicationService/VerifyApplication", {"name": name, "verificationToken": token}, metadata=()
        )
        self.assertTrue(verified["application"]["isVerified"])
        self.assertEqual(self.owner.check(verified["secret"]), (True, []))
        self.assertEqual(self.inbox.attempts, [(True, ("kay@acme.example", PASSWORD))])

    def test_a_password_is_shown_to_nobody_whose_certificate_is_not_trusted(self):
        self.server.terminate()
        self.write("ca.pem", trustme.CA().cert_pem.bytes())
        self.server.start()
        self.create()
        time.sleep(1)
        self.assertEqual((self.inbox.attempts, self.inbox.mails), ([], []))
        # It is still there for when that is mended.
        self.server.terminate()
        self.write("ca.pem", self.authority.cert_pem.bytes())
        self.server.start()
        self.until(lambda: self.inbox.mails)
        self.assertEqual(len(self.inbox.mails), 1)


if __name__ == "__main__":
    unittest.main()
