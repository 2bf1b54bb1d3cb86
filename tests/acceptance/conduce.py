"""Conduce's keys and sessions: email and password for a session, which serves as a key does, and a tool that asks.

By gRPC and by the command line. Unlike theirs, a key is not shown again: what was lost is rotated.
"""

import datetime
import os
import pty
import re
import select
import subprocess
import time
import unittest

from stranger import DEADLINE, PROGRAM, CommandLine, Refused, Stranger, environment

PASSWORD = "correct horse battery"
OTHER = "staple, twice as long"
EMAIL = "bo@acme.example"
BO = "tenants/acme/users/bo"
DOC = ("doc/1", "read")


class ByGrpc:
    """The calls of their documents, each one RPC."""

    def __init__(self, api):
        self.api = api

    def holding(self, credential):
        return ByGrpc(self.api.holding(credential))

    def sign_in(self, email=EMAIL, password=PASSWORD, tenant="tenants/acme"):
        request = {"email": email, "password": password, "tenant": tenant}
        return self.api.call("TokenService/CreateSession", request, ())

    def sign_out(self, session):
        return self.api.call("TokenService/RevokeToken", {"token": session})

    def sessions(self):
        return self.api.call("TokenService/ListSessions", {"parent": BO}).get("sessions", [])

    def create(self, description, ttl=None):
        key = {"description": description, "grants": [{"resources": {"resource": "doc/*", "actions": ["read"]}}]}
        request = {"parent": BO, "key": key, **({"ttl": ttl} if ttl else {})}
        made = self.api.call("KeyService/CreateKey", request)
        return made["key"], made["credential"]

    def list(self):
        keys = self.api.call("KeyService/ListKeys", {"parent": BO}).get("keys", [])
        return [key for key in keys if key["type"] == "KEY_TYPE_REGULAR"]

    def remove(self, name):
        return self.api.call("KeyService/DeleteKey", {"name": name})["key"]

    def remove_by_text(self, credential):
        return self.remove(self.api.call("KeyService/LookupKey", {"credential": credential})["key"]["name"])

    def give_up(self, credential):
        return self.api.call("KeyService/RevokeCredentials", {"credentials": [credential]}, ())

    def set_password(self, password, current=""):
        request = {"name": BO, "password": password, "currentPassword": current}
        return self.api.call("UserService/SetPassword", request)

    def suspend(self, user):
        return self.api.call("UserService/SuspendUser", {"name": user})

    def activate(self, user):
        return self.api.call("UserService/ActivateUser", {"name": user})


class ByCommandLine(ByGrpc):
    """The same calls, each one command."""

    def holding(self, credential):
        return ByCommandLine(self.api.holding(credential))

    def sign_in(self, email=EMAIL, password=PASSWORD, tenant="tenants/acme"):
        more = ["--tenant", tenant] if tenant else []
        return self.api.run("sessions", "create", "--user", email, *more, KEYWARD_PASSWORD=password)

    def sign_out(self, session):
        return self.api.run("sessions", "revoke", "--token-file", "-", given=session)

    def sessions(self):
        return self.api.run("sessions", "list", "--owner", "bo")["sessions"]

    def create(self, description, ttl=None):
        more = ["--ttl", ttl] if ttl else []
        made = self.api.run(
            *("keys", "create", "--owner", "bo", "--description", description, "--grant", "doc/*=read", *more)
        )
        return made["key"], made["credential"]

    def list(self):
        return self.api.run("keys", "list", "--owner", "bo", "--filter", "type = KEY_TYPE_REGULAR")["keys"]

    def remove(self, name):
        return self.api.run("keys", "delete", name)["key"]

    def remove_by_text(self, credential):
        return self.remove(self.api.run("keys", "lookup", KEYWARD_CREDENTIAL=credential)["key"]["name"])

    def give_up(self, credential):
        return self.api.run("keys", "revoke-credentials", "--file", "-", given=f"{credential}\n")

    def set_password(self, password, current=""):
        more = {"KEYWARD_CURRENT_PASSWORD": current} if current else {}
        return self.api.run("users", "passwd", "bo", "--password-file", "-", given=f"{password}\n", **more)

    def suspend(self, user):
        return self.api.run("users", "suspend", user)

    def activate(self, user):
        return self.api.run("users", "activate", user)


class ConduceByGrpc(Stranger):
    def api(self, credential):
        return ByGrpc(self.root.holding(credential))

    def setUp(self):
        super().setUp()
        request = {"parent": "tenants/-", "userId": "bo", "user": {"email": EMAIL}, "password": PASSWORD}
        self.master = self.owner.call("UserService/CreateUser", request)["masterCredential"]
        self.bo = self.api(self.master)
        self.ana = self.api(self.owner.credential)
        self.check = self.bo.api.check

    def test_email_and_password_give_a_session(self):
        made = self.bo.sign_in()
        self.assertEqual(made["session"]["user"], BO)
        time_of = lambda text: datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
        life = time_of(made["expireTime"]) - time_of(made["session"]["createTime"])
        self.assertAlmostEqual(life.total_seconds(), 24 * 3600, delta=2)
        self.assertEqual(self.check(made["sessionToken"], DOC), (True, []))
        self.assertEqual([one["name"] for one in self.bo.sessions()], [made["session"]["name"]])
        self.assertNotIn(made["sessionToken"], repr(self.bo.sessions()))

    def test_an_email_is_the_same_in_any_case(self):
        for email in ("BO@ACME.example", " bo@acme.example ", "ｂｏ@acme.example"):
            self.assertEqual(self.bo.sign_in(email)["session"]["user"], BO)

    def test_whoever_cannot_sign_in_is_told_one_thing(self):
        self.root.call("TenantService/CreateTenant", {"tenantId": "bolt", "owner": {"email": EMAIL}, "ownerPassword": PASSWORD})
        told = {
            self.refused("UNAUTHENTICATED", self.bo.sign_in, EMAIL, OTHER),
            self.refused("UNAUTHENTICATED", self.bo.sign_in, "nobody@acme.example"),
            self.refused("UNAUTHENTICATED", self.bo.sign_in, "ana@acme.example"),
            self.refused("UNAUTHENTICATED", self.bo.sign_in, EMAIL, PASSWORD, ""),
            self.refused("UNAUTHENTICATED", self.bo.sign_in, EMAIL, PASSWORD, "tenants/nothing"),
        }
        self.assertEqual(len(told), 1, told)
        self.assertIn("tenant", told.pop())
        self.assertEqual(self.bo.sign_in()["session"]["user"], BO)
        self.assertEqual(self.bo.sign_in(tenant="tenants/bolt")["session"]["user"].split("/")[1], "bolt")

    def test_session_and_key_do_the_same(self):
        session = self.api(self.bo.sign_in()["sessionToken"])
        for one, other in ((session, self.bo), (self.bo, session)):
            key, credential = one.create("for the robot")
            self.assertEqual(key["owner"], BO)
            self.assertIn("createTime", key)
            self.assertEqual(other.list(), [key])
            self.assertEqual(one.list(), [key])
            self.assertEqual(self.check(credential, DOC), (True, []))
            other.remove(key["name"])
            self.assertEqual(self.check(credential, DOC), (False, ["DELETED"]))
            self.assertEqual(one.list(), [])

    def test_a_key_is_removed_by_its_own_text(self):
        session = self.api(self.bo.sign_in()["sessionToken"])
        for caller in (session, self.bo):
            key, credential = caller.create("for the robot")
            self.assertEqual(caller.remove_by_text(credential)["name"], key["name"])
            self.assertEqual(self.check(credential, DOC), (False, ["DELETED"]))
            _, credential = caller.create("leaked")
            caller.give_up(credential)
            self.assertEqual(self.check(credential, DOC), (False, ["REVOKED"]))
        self.refused("NOT_FOUND", self.bo.remove_by_text, "kw_unknown")

    def test_the_master_key_stands_for_all_its_user_may_do(self):
        session = self.bo.sign_in()["sessionToken"]
        for credential in (self.master, session):
            anything = [DOC, ("tables/public/roads", "delete"), ("a/b/c/d", "whatever")]
            self.assertEqual(self.check(credential, *anything), (True, []))
            member = self.api(credential)
            self.refused("PERMISSION_DENIED", member.suspend, "tenants/acme/users/" + self.made["owner"]["name"].rsplit("/", 1)[1])
        _, regular = self.bo.create("for the robot")
        self.assertEqual(self.check(regular, ("doc/1", "write")), (False, ["NOT_GRANTED"]))
        self.refused("PERMISSION_DENIED", self.api(regular).create, "more")

    def test_signing_out_ends_the_session_and_nothing_else(self):
        first, second = (self.bo.sign_in()["sessionToken"] for _ in range(2))
        _, credential = self.api(first).create("for the robot")
        self.api(first).sign_out(first)
        self.assertFalse(self.check(first, DOC)[0])
        self.refused("UNAUTHENTICATED", self.api(first).list)
        self.assertEqual(self.server.terminate(), 0)
        self.server.start()
        self.assertFalse(self.check(first, DOC)[0], "after a restart too")
        for alive in (second, credential, self.master):
            self.assertEqual(self.check(alive, DOC), (True, []))
        self.assertEqual(len(self.bo.sessions()), 1)

    def test_a_new_password_ends_the_sessions_and_the_old_password(self):
        session = self.bo.sign_in()["sessionToken"]
        own = self.api(session)
        self.refused("PERMISSION_DENIED", own.set_password, OTHER)
        self.refused("PERMISSION_DENIED", own.set_password, OTHER, OTHER)
        self.refused("INVALID_ARGUMENT", own.set_password, "short", PASSWORD)
        self.refused("INVALID_ARGUMENT", own.set_password, "x" * 257, PASSWORD)
        self.assertEqual(self.check(session, DOC), (True, []))
        own.set_password(OTHER, PASSWORD)
        self.assertFalse(self.check(session, DOC)[0])
        self.assertEqual(self.check(self.master, DOC), (True, []), "a key has no password")
        self.refused("UNAUTHENTICATED", self.bo.sign_in)
        self.assertEqual(self.bo.sign_in(password=OTHER)["session"]["user"], BO)
        self.ana.set_password(PASSWORD)
        self.assertEqual(self.bo.sign_in()["session"]["user"], BO, "an administrator needs no current password")

    def test_a_suspended_user_can_neither_sign_in_nor_go_on(self):
        session = self.bo.sign_in()["sessionToken"]
        self.ana.suspend(BO)
        for credential in (session, self.master):
            allowed, reasons = self.check(credential, DOC)
            self.assertFalse(allowed)
            self.assertIn("OWNER_SUSPENDED", reasons)
        self.refused("UNAUTHENTICATED", self.api(session).list)
        with self.assertRaises(Refused):
            self.bo.sign_in()
        self.ana.activate(BO)
        self.assertEqual(self.check(self.master, DOC), (True, []))
        self.assertEqual(self.check(self.bo.sign_in()["sessionToken"], DOC), (True, []))

    def test_other_people_get_temporary_keys(self):
        session = self.api(self.bo.sign_in()["sessionToken"])
        key, credential = session.create("for a guest", "3600s")
        self.assertIn("expireTime", key)
        self.assertEqual(self.check(credential, DOC), (True, []))
        self.assertEqual(self.check(credential, ("doc/1", "write")), (False, ["NOT_GRANTED"]))
        _, credential = session.create("for a minute's guest", "1s")
        deadline = time.monotonic() + DEADLINE
        while self.check(credential, DOC)[0]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(self.check(credential, DOC), (False, ["EXPIRED"]))


class ConduceByCommandLine(ConduceByGrpc):
    def api(self, credential):
        return ByCommandLine(CommandLine(self.server, credential))


class ToolThatAsks(Stranger):
    """The command line at a terminal, and in scripts, with neither key nor session."""

    def setUp(self):
        super().setUp()
        request = {"parent": "tenants/-", "userId": "bo", "user": {"email": EMAIL}, "password": PASSWORD}
        self.owner.call("UserService/CreateUser", request)

    def sessions(self):
        return self.owner.call("TokenService/ListSessions", {"parent": "tenants/-"}).get("sessions", [])

    def typed(self, *arguments, answers=()):
        """Runs it at a terminal, typing an answer whenever it asks: its exit code and all that was to be seen."""
        command, variables = [PROGRAM, *arguments], environment(KEYWARD_SERVER=self.server.admin)
        process, terminal = pty.fork()
        if process == 0:
            os.execve(PROGRAM, command, variables)
        answers, seen, asked = list(answers), "", 0
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(terminal, 4096)
            except OSError:
                break
            if not read:
                break
            seen += read.decode()
            if answers and re.search(r": $", seen[asked:]):
                asked = len(seen)
                os.write(terminal, answers.pop(0).encode() + b"\n")
        os.close(terminal)
        _, status = os.waitpid(process, 0)
        self.assertEqual(answers, [], f"it did not ask: {seen}")
        return os.waitstatus_to_exitcode(status), seen

    def piped(self, *arguments, given="", **variables):
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=environment(KEYWARD_SERVER=self.server.admin, **variables),
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            start_new_session=True,
        )
        return done.returncode, done.stdout + done.stderr

    def test_it_asks_for_the_password_signs_in_and_out_again(self):
        code, seen = self.typed("keys", "create", "robot", "--user", EMAIL, answers=[PASSWORD])
        self.assertEqual(code, 0, seen)
        self.assertIn(f"Password of {EMAIL}:", seen)
        self.assertNotIn(PASSWORD, seen, "what is typed is not shown")
        self.assertIn("credential (shown once): kw_", seen)
        self.assertIn("users/bo", seen)
        self.assertEqual(self.sessions(), [], "it has signed out")

    def test_a_wrong_password_is_refused(self):
        code, seen = self.typed("keys", "list", "--user", EMAIL, answers=[OTHER])
        self.assertEqual(code, 1, seen)
        self.assertIn("UNAUTHENTICATED", seen)
        self.assertNotIn(OTHER, seen)

    def test_scripts_give_the_password_or_are_told_to(self):
        listed = ("keys", "list", "--user", EMAIL)
        self.assertEqual(self.piped(*listed, KEYWARD_PASSWORD=PASSWORD)[0], 0)
        self.assertEqual(self.piped(*listed, "--user-password-file", "-", given=f"{PASSWORD}\n")[0], 0)
        self.assertEqual(self.sessions(), [])
        code, seen = self.piped(*listed)
        self.assertEqual(code, 2, seen)
        self.assertIn("--user-password-file", seen)
        code, seen = self.piped("keys", "list")
        self.assertEqual(code, 1, seen)
        self.assertIn("--user EMAIL", seen)

    def test_a_session_is_kept_until_it_is_signed_out(self):
        code, seen = self.typed("sessions", "create", "--user", EMAIL, answers=[PASSWORD])
        self.assertEqual(code, 0, seen)
        token = re.search(r"session token \(shown once\): (\S+)", seen)[1]
        self.assertEqual(len(self.sessions()), 1)
        self.assertEqual(self.piped("keys", "list", KEYWARD_KEY=token)[0], 0)
        self.assertEqual(self.piped("sessions", "revoke", KEYWARD_KEY=token)[0], 0)
        self.assertEqual(self.sessions(), [])
        self.assertEqual(self.piped("keys", "list", KEYWARD_KEY=token)[0], 1)

    def test_a_new_password_is_asked_for_twice(self):
        passwd = ("users", "passwd", "bo", "--user", EMAIL)
        code, seen = self.typed(*passwd, answers=[PASSWORD, OTHER, OTHER + "!"])
        self.assertEqual(code, 2, seen)
        self.assertIn("differ", seen)
        code, seen = self.typed(*passwd, answers=[PASSWORD, OTHER, OTHER])
        self.assertEqual(code, 0, seen)
        self.assertNotIn(OTHER, seen)
        self.assertNotIn("warning", seen)
        self.assertEqual(self.sessions(), [])
        self.assertEqual(self.piped("keys", "list", "--user", EMAIL, KEYWARD_PASSWORD=PASSWORD)[0], 1)
        self.assertEqual(self.piped("keys", "list", "--user", EMAIL, KEYWARD_PASSWORD=OTHER)[0], 0)


if __name__ == "__main__":
    unittest.main()
