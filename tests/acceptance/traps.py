"""What trusted peers got wrong, by clients that are not ours: commits that the database refuses, guesses that are spelled
otherwise, paths that have no slash, and texts that are nested without end.
"""

import base64
import pathlib
import re
import sqlite3
import unittest

import grpc
from google.protobuf import json_format, message_factory

from stranger import DEADLINE, Refused, Stranger

DOC = {"resources": {"resource": "doc/*", "actions": ["read"]}}

# Has COMMIT refused: when a row of `child` is wrong is found out only then.
REFUSE = """
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER orphan AFTER UPDATE ON ledger_head BEGIN INSERT INTO child VALUES (1); END;
"""


class Commits(Stranger):
    """Whatever a mutation has prepared, nothing of it is true before its COMMIT was (Keycloak #49213)."""

    def key(self, **more):
        request = {"parent": "tenants/-", "key": {"grants": [DOC], **more.pop("key", {})}, **more}
        made = self.owner.call("KeyService/CreateKey", request)
        return made["key"]["name"], made["credential"]

    def answers(self, credentials):
        return [self.owner.check(credential, ("doc/1", "read")) for credential in credentials]

    def sql(self, text):
        database = sqlite3.connect(self.folder / "keyward.db", timeout=DEADLINE)
        try:
            database.executescript(text)
        finally:
            database.close()

    def application(self):
        request = {"parent": "tenants/-", "application": {"grants": [DOC]}}
        return self.owner.call("ApplicationService/CreateApplication", request)["application"]["name"]

    def mailed(self, mail):
        return next(line for line in mail.get_content().splitlines() if line and not set(line) & {" ", "/"})

    def mutating(self):
        """Every method of the contract but those that read."""
        reads = r"Get|List|Watch|Check|BatchCheck|StreamCheck|Introspect|Lookup|Diagnose"
        services = ("Key", "User", "Application", "Tenant", "Token", "Event", "Admin", "Check")
        described = [self.contract.pool.FindServiceByName(f"keyward.v1.{name}Service") for name in services]
        methods = {f"{service.name}/{method.name}" for service in described for method in service.methods}
        return {method for method in methods if not re.match(reads, method.partition("/")[2])}

    def events(self):
        return self.root.call("EventService/ListEvents", {"parent": "tenants/acme", "pageSize": 1000})["events"]

    def test_a_refused_commit_changes_no_answer(self):
        password = "correct horse battery"
        user = self.owner.call(
            "UserService/CreateUser",
            {"parent": "tenants/-", "userId": "bo", "user": {"email": "bo@acme.example"}, "password": password},
        )
        (good, good_text), (suspended, suspended_text), (deleted, deleted_text) = self.key(), self.key(), self.key()
        self.owner.call("KeyService/SuspendKey", {"name": suspended})
        self.owner.call("KeyService/DeleteKey", {"name": deleted})
        of_bo = self.owner.call("KeyService/CreateKey", {"parent": user["user"]["name"], "key": {"grants": [DOC]}})
        narrow = self.key(key={"grants": []})
        token = self.owner.call("TokenService/CreateToken", {"key": good_text}, [])["token"]
        jwt = self.owner.call("TokenService/CreateToken", {"key": good_text, "format": "TOKEN_FORMAT_JWT"}, [])["token"]
        signed_in = {"email": "bo@acme.example", "password": password}
        session = self.owner.call("TokenService/CreateSession", signed_in, [])["sessionToken"]
        application = self.application()
        verified = {"name": application, "verificationToken": self.mailed(*self.mails(1))}
        secret = self.owner.call("ApplicationService/VerifyApplication", verified, ())["secret"]
        revoked = self.application()
        self.owner.call("ApplicationService/RevokeApplication", {"name": revoked})
        waiting = self.application()
        latest = self.mails(3)[-1]
        proof = {"name": waiting, "verificationToken": self.mailed(latest)}
        rotating, rotating_text = self.key()
        newer = self.owner.call("KeyService/RotateKey", {"name": rotating, "overlap": "3600s"})["credential"]
        cy = self.owner.call(
            "UserService/CreateUser", {"parent": "tenants/-", "userId": "cy", "user": {"email": "cy@acme.example"}}
        )
        self.owner.call("UserService/SuspendUser", {"name": cy["user"]["name"]})
        closed = self.root.call(
            "TenantService/CreateTenant", {"tenantId": "closed", "owner": {"email": "di@closed.example"}}
        )
        self.root.call("TenantService/SuspendTenant", {"name": "tenants/closed"})

        credentials = [good_text, suspended_text, deleted_text, of_bo["credential"], narrow[1], token, jwt]
        credentials += [self.made["masterCredential"], user["masterCredential"], self.server.root, session, secret]
        credentials += [rotating_text, newer, cy["masterCredential"], closed["masterCredential"]]
        before, told = self.answers(credentials), self.events()
        self.assertEqual([allowed for allowed, _ in before[:7]], [True, False, False, True, False, True, True])

        self.sql(REFUSE)
        wide = {"name": narrow[0], "grants": [DOC]}
        mutations = [
            ("KeyService/CreateKey", {"parent": "tenants/-"}),
            ("KeyService/UpdateKey", {"key": wide, "updateMask": "grants"}),
            ("KeyService/RotateKey", {"name": good}),
            ("KeyService/FinishKeyRotation", {"name": rotating}),
            ("KeyService/GenerateSecretKey", {"name": good}),
            ("KeyService/SuspendKey", {"name": good}),
            ("KeyService/ActivateKey", {"name": suspended}),
            ("KeyService/RevokeKey", {"name": good}),
            ("KeyService/DeleteKey", {"name": good}),
            ("KeyService/UndeleteKey", {"name": deleted}),
            ("KeyService/RevokeCredentials", {"credentials": [good_text]}),
            ("UserService/CreateUser", {"parent": "tenants/-", "user": {"email": "ed@acme.example"}}),
            ("UserService/UpdateUser", {"user": {"name": user["user"]["name"], "role": "USER_ROLE_ADMIN"}, "updateMask": "role"}),
            ("UserService/SuspendUser", {"name": user["user"]["name"]}),
            ("UserService/ActivateUser", {"name": cy["user"]["name"]}),
            ("UserService/DeleteUser", {"name": user["user"]["name"]}),
            ("UserService/RotateMasterKey", {"name": user["user"]["name"]}),
            ("UserService/SetPassword", {"name": user["user"]["name"], "password": "another horse battery"}),
            ("ApplicationService/CreateApplication", {"parent": "tenants/-"}),
            ("ApplicationService/RotateApplicationSecret", {"name": application}),
            ("ApplicationService/RevokeApplication", {"name": application}),
            ("ApplicationService/ActivateApplication", {"name": revoked}),
            ("ApplicationService/VerifyApplication", proof),
            ("ApplicationService/DeleteApplication", {"name": application}),
            ("ApplicationService/UpdateApplication", {"application": {"name": application}, "updateMask": "grants"}),
            ("TokenService/CreateToken", {"key": good_text}),
            ("TokenService/RevokeToken", {"token": token}),
            ("TokenService/RevokeToken", {"token": jwt}),
            ("TokenService/RevokeToken", {"token": session}),
            ("TokenService/CreateSession", signed_in),
        ]
        for rpc, request in mutations:
            with self.subTest(rpc):
                said = self.refused("UNAVAILABLE", self.owner.call, rpc, request)
                self.assertNotIn("committed", said)
                self.assertEqual(self.answers(credentials), before)
        of_root = [
            ("TenantService/CreateTenant", {"tenantId": "new", "owner": {"email": "flo@new.example"}}),
            ("TenantService/UpdateTenant", {"tenant": {"name": "tenants/acme", "displayName": "x"}}),
            ("TenantService/SuspendTenant", {"name": "tenants/acme"}),
            ("TenantService/ActivateTenant", {"name": "tenants/closed"}),
            ("TenantService/DeleteTenant", {"name": "tenants/acme"}),
        ]
        for rpc, request in of_root:
            with self.subTest(rpc):
                self.refused("UNAVAILABLE", self.root.call, rpc, request)
                self.assertEqual(self.answers(credentials), before)
        # A stream, and one that nobody may call within a minute of the mail before.
        elsewhere = {"KeyService/ImportKeys", "ApplicationService/ResendVerification"}
        self.assertEqual({rpc for rpc, _ in mutations + of_root} | elsewhere, self.mutating())
        self.assertEqual(self.events(), told)

        self.server.terminate()
        self.sql("DROP TRIGGER orphan")
        self.server.start()
        self.assertEqual(self.answers(credentials), before)
        self.assertEqual(self.events(), told)
        self.owner.call("KeyService/RevokeKey", {"name": good})
        self.assertEqual(self.answers([good_text]), [(False, ["REVOKED"])])


class Guesses(Stranger):
    def test_an_account_is_one_however_it_is_spelled(self):
        """Vault CVE-2025-6004: the limit of an account was got round by case and spaces."""
        self.owner.call(
            "UserService/CreateUser",
            {"parent": "tenants/-", "userId": "bo", "user": {"email": "bo@acme.example"}, "password": "correct horse"},
        )
        spellings = ["bo@acme.example", "BO@acme.example", " bo@acme.example", "bo@ACME.example\t", "ｂｏ@acme.example"]
        codes = []
        for number in range(15):
            guess = {"email": spellings[number % len(spellings)], "password": f"guess {number}"}
            with self.assertRaises(Refused) as caught:
                self.owner.call("TokenService/CreateSession", guess, ())
            codes.append(caught.exception.code)
        # Ten from one source in a burst, and one more every ten seconds.
        self.assertIn("RESOURCE_EXHAUSTED", codes[10:], codes)
        self.assertEqual(set(codes), {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"})


    def test_whoever_is_refused_has_cost_as_much(self):
        """Vault CVE-2025-6011: names were told by how soon they were refused. What is compared is processor time."""
        user = {"parent": "tenants/-", "userId": "bo", "user": {"email": "bo@acme.example"}, "password": "correct horse"}
        self.owner.call("UserService/CreateUser", user)
        self.owner.call("UserService/CreateUser", {"parent": "tenants/-", "user": {"email": "without@acme.example"}})
        gone = {**user, "userId": "cy", "user": {"email": "cy@acme.example"}}
        gone = self.owner.call("UserService/CreateUser", gone)["user"]["name"]
        self.owner.call("UserService/DeleteUser", {"name": gone})
        costs = {}
        for who in ("bo", "without", "cy", "nobody"):
            before = self.used()
            for number in range(8):
                guess = {"email": f"{who}@acme.example", "password": f"guess {number}"}
                self.refused("UNAUTHENTICATED", self.owner.call, "TokenService/CreateSession", guess, ())
            costs[who] = self.used() - before
        # One that is not compared costs next to nothing.
        self.assertGreater(2 * min(costs.values()), max(costs.values()), costs)

    def used(self):
        """The processor time that the server has had, in ticks."""
        fields = pathlib.Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


class Texts(Stranger):
    def ask_for(self, path, key):
        """ext_authz, asked by somebody who is no Envoy."""
        service = self.contract.pool.FindServiceByName("envoy.service.auth.v3.Authorization")
        method = service.FindMethodByName("Check")
        asked, answered = (message_factory.GetMessageClass(one) for one in (method.input_type, method.output_type))
        http = {"method": "GET", "path": path, "host": "shop.example", "headers": {"x-api-key": key}}
        message = json_format.ParseDict({"attributes": {"request": {"http": http}}}, asked(), descriptor_pool=self.contract.pool)
        with self.server.channel(self.server.data) as channel:
            path = "/envoy.service.auth.v3.Authorization/Check"
            call = channel.unary_unary(path, asked.SerializeToString, answered.FromString)
            return call(message, timeout=DEADLINE).status.code

    def test_a_path_without_a_slash_is_granted_to_nobody(self):
        """gRPC-Go CVE-2026-33186 and opa-envoy CVE-2026-26205, without an Envoy that would not ask."""
        all_paths = {"resources": {"resource": "**", "actions": ["*"]}}
        made = self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": {"grants": [all_paths]}})
        self.assertEqual(self.ask_for("/admin", made["credential"]), 0)
        below = {"resources": {"resource": "http/shop.example/**", "actions": ["*"]}}
        made = self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": {"grants": [below]}})
        self.assertEqual(self.ask_for("/admin", made["credential"]), 0)
        for path in ("admin", "", "//admin", "//shop.example/admin", "/./admin", "/a/../admin", "/%2e%2e/admin", "*"):
            self.assertEqual(self.ask_for(path, made["credential"]), 7, path)

    def test_a_method_without_a_slash_is_none(self):
        for path in ("keyward.v1.TenantService/ListTenants", "//keyward.v1.TenantService/ListTenants"):
            with self.server.channel(self.server.admin) as channel:
                call = channel.unary_unary(path, lambda message: message, lambda message: message)
                with self.assertRaises(grpc.RpcError) as caught:
                    call(b"", timeout=DEADLINE)
                self.assertNotEqual(caught.exception.code(), grpc.StatusCode.OK, path)

    def nested(self, depth):
        return "[" * depth + "]" * depth

    def test_what_is_nested_without_end_ends_nothing(self):
        """Vault CVE-2025-6203: JSON so deep that its reader took the server along."""
        part = lambda text: base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        header = '{"alg":"EdDSA","typ":"at+jwt","kid":"a"}'
        signature = part("x" * 64)
        for depth in (10, 200, 2500):
            deep = self.nested(depth)
            for head, claims in ((header, f'{{"sub":{deep}}}'), (f'{{"alg":{deep}}}', "{}"), (deep, deep)):
                text = f"{part(head)}.{part(claims)}.{signature}"
                allowed, reasons = self.owner.check(text)
                self.assertFalse(allowed)
                self.assertIn(reasons, (["MALFORMED"], ["NOT_FOUND"], ["TOKEN_SIGNATURE_INVALID"]))
        # Messages in messages: groups that nobody knows, and a Struct of Envoy's.
        for depth in (10, 90, 5000):
            self.send(b"\x7b" * depth + b"\x7c" * depth)
            self.send(b"\x0a\x7f" * depth)
        deep = "((" * 1000 + "state" + "))" * 1000
        said = self.refused("INVALID_ARGUMENT", self.owner.call, "KeyService/ListKeys", {"parent": "tenants/-", "filter": deep})
        self.assertIn("filter", said)
        self.assertEqual(self.owner.check(self.owner.credential), (True, []))
        self.assertIsNone(self.server.process.poll())

    def send(self, message):
        """Bytes to both Checks: whatever comes, it is no permission."""
        for path in ("/keyward.v1.CheckService/Check", "/envoy.service.auth.v3.Authorization/Check"):
            with self.server.channel(self.server.data) as channel:
                call = channel.unary_unary(path, lambda message: message, lambda message: message)
                try:
                    reply = call(message, timeout=DEADLINE)
                except grpc.RpcError as error:
                    self.assertIn(error.code().name, ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"))
                    continue
            service, _, method = path[1:].partition("/")
            described = self.contract.pool.FindServiceByName(service).FindMethodByName(method)
            answer = message_factory.GetMessageClass(described.output_type).FromString(reply)
            told = json_format.MessageToDict(answer, descriptor_pool=self.contract.pool)
            if method == "Check" and service.startswith("keyward"):
                self.assertNotEqual(told.get("decision"), "DECISION_ALLOWED")
            else:
                self.assertNotEqual(answer.status.code, 0, told)


if __name__ == "__main__":
    unittest.main()
