"""grpcurl 1.8.6, which knows nothing but what reflection (v1alpha) or the descriptor set tells it."""

import json
import pathlib
import subprocess
import sys
import unittest

from stranger import DEADLINE, Stranger, environment

GRPCURL = pathlib.Path(sys.executable).with_name("grpcurl")


class Grpcurl(Stranger):
    def grpcurl(self, *arguments, request=None, credential=None):
        """Runs it; no secret is an argument."""
        options = ["-plaintext", "-expand-headers"]
        if credential is not None:
            options += ["-H", "authorization: Bearer ${CREDENTIAL}"]
        if request is not None:
            options += ["-d", "@"]
        return subprocess.run(
            [GRPCURL, *options, *arguments],
            env=environment(CREDENTIAL=credential or ""),
            input=None if request is None else json.dumps(request),
            stdin=subprocess.DEVNULL if request is None else None,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def answer(self, *arguments, **named):
        done = self.grpcurl(*arguments, **named)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_it_lists_every_service(self):
        listed = set(self.answer(self.server.admin, "list").split())
        ours = {"Check", "Key", "Token", "Application", "Tenant", "User", "Event", "Admin"}
        self.assertLessEqual({f"keyward.v1.{name}Service" for name in ours}, listed)
        standard = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
        self.assertLessEqual(standard | {"grpc.reflection.v1alpha.ServerReflection"}, listed)

    def test_it_describes_services_and_messages(self):
        service = self.answer(self.server.admin, "describe", "keyward.v1.CheckService")
        self.assertIn("rpc Check ( .keyward.v1.CheckRequest ) returns ( .keyward.v1.CheckResponse )", service)
        message = self.answer(self.server.admin, "describe", "keyward.v1.CheckRequest")
        self.assertIn("repeated .keyward.v1.Permission permissions", message)
        methods = self.answer(self.server.admin, "list", "keyward.v1.KeyService").split()
        self.assertIn("keyward.v1.KeyService.RevokeKey", methods)

    def test_it_makes_a_key_and_checks_it_by_reflection(self):
        grant = {"resources": {"resource": "doc/*", "actions": ["read"]}}
        request = {"parent": "tenants/acme", "keyId": "ci", "key": {"grants": [grant]}}
        owner = self.made["masterCredential"]
        rpc = "keyward.v1.KeyService/CreateKey"
        made = json.loads(self.answer(self.server.admin, rpc, request=request, credential=owner))
        self.assertEqual(made["key"]["name"], "tenants/acme/keys/ci")

        question = {"credential": made["credential"], "permissions": [{"resource": "doc/1", "action": "read"}]}
        rpc = "keyward.v1.CheckService/Check"
        reply = json.loads(self.answer(self.server.admin, rpc, request=question, credential=owner))
        self.assertEqual(reply["decision"], "DECISION_ALLOWED")
        self.assertEqual(reply["principal"]["key"], "tenants/acme/keys/ci")
        question["permissions"][0]["action"] = "write"
        reply = json.loads(self.answer(self.server.admin, rpc, request=question, credential=owner))
        self.assertEqual((reply["decision"], reply["reasons"]), ("DECISION_DENIED", ["REASON_NOT_GRANTED"]))

    def test_it_checks_on_the_data_listener_with_the_descriptor_set(self):
        question = {"credential": self.made["masterCredential"]}
        protoset = ["-protoset", str(self.descriptors)]
        rpc = "keyward.v1.CheckService/Check"
        reply = json.loads(self.answer(*protoset, self.server.data, rpc, request=question))
        self.assertEqual(reply["decision"], "DECISION_ALLOWED")

    def test_it_is_refused_without_a_credential(self):
        request = {"parent": "tenants/acme"}
        for rpc in ("keyward.v1.KeyService/ListKeys", "keyward.v1.CheckService/Check"):
            done = self.grpcurl(self.server.admin, rpc, request=request if "List" in rpc else {})
            self.assertNotEqual(done.returncode, 0, rpc)
            self.assertIn("Code: Unauthenticated", done.stderr)


if __name__ == "__main__":
    unittest.main()
