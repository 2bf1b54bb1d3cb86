"""urbanData Analytics' applications: registered, verified by a mailed token, their secret exchanged for access tokens.

By gRPC and by the command line. Their consumer is our application, their company our tenant; the master key is the user's.
"""

import re
import time
import unittest

from stranger import CommandLine, Stranger

MAPS = ("apis/maps", "use")
SQL = ("apis/sql", "use")
GRANTS = [{"apis": {"names": ["maps", "sql"]}}]
ATLAS = "tenants/acme/applications/atlas"
GLOBE = "tenants/acme/applications/globe"


class ByGrpc:
    """The calls of their documents, each one RPC."""

    def __init__(self, api):
        self.api = api

    def holding(self, credential):
        return ByGrpc(self.api.holding(credential))

    def create(self, name, description="Maps of roads", email=""):
        application = {"displayName": name.title(), "description": description, "contactEmail": email, "grants": GRANTS}
        request = {"parent": "tenants/-", "applicationId": name, "application": application}
        return self.api.call("ApplicationService/CreateApplication", request)["application"]

    def verify(self, name, token):
        request = {"name": name, "verificationToken": token}
        made = self.api.call("ApplicationService/VerifyApplication", request, ())
        return made["application"], made["secret"]

    def resend(self, name):
        return self.api.call("ApplicationService/ResendVerification", {"name": name})["application"]

    def list(self):
        return self.api.call("ApplicationService/ListApplications", {"parent": "tenants/-"}).get("applications", [])

    def get(self, name):
        return self.api.call("ApplicationService/GetApplication", {"name": name})["application"]

    def contact(self, name, email):
        request = {"application": {"name": name, "contactEmail": email}, "updateMask": "contactEmail"}
        return self.api.call("ApplicationService/UpdateApplication", request)["application"]

    def rotate(self, name, overlap="0s"):
        request = {"name": name, "overlap": overlap}
        return self.api.call("ApplicationService/RotateApplicationSecret", request)["secret"]

    def revoke(self, name):
        return self.api.call("ApplicationService/RevokeApplication", {"name": name})["application"]

    def activate(self, name):
        return self.api.call("ApplicationService/ActivateApplication", {"name": name})["application"]

    def delete(self, name):
        return self.api.call("ApplicationService/DeleteApplication", {"name": name})["application"]

    def rotate_master_key(self, user):
        return self.api.call("UserService/RotateMasterKey", {"name": user})["masterCredential"]

    def exchange(self, name, secret, *permissions, ttl="3600s"):
        asked = [{"resource": resource, "action": action} for resource, action in permissions]
        request = {"application": name, "secret": secret, "permissions": asked, "ttl": ttl}
        return self.api.call("TokenService/CreateToken", request, ())["token"]

    def introspect(self, token):
        return self.api.call("TokenService/IntrospectToken", {"token": token})

    def end(self, token):
        return self.api.call("TokenService/RevokeToken", {"token": token})


class ByCommandLine(ByGrpc):
    """The same calls, each one command."""

    def holding(self, credential):
        return ByCommandLine(self.api.holding(credential))

    def create(self, name, description="Maps of roads", email=""):
        more = ["--contact-email", email] if email else []
        return self.api.run(
            *("apps", "create", name, "--display-name", name.title(), "--description", description),
            *("--grant-api", "maps", "--grant-api", "sql", *more),
        )["application"]

    def verify(self, name, token):
        made = self.api.run("apps", "verify", name, "--token-file", "-", given=f"{token}\n")
        return made["application"], made["secret"]

    def resend(self, name):
        return self.api.run("apps", "resend", name)["application"]

    def list(self):
        return self.api.run("apps", "list")["applications"]

    def get(self, name):
        return self.api.run("apps", "get", name)["application"]

    def contact(self, name, email):
        return self.api.run("apps", "update", name, "--contact-email", email)["application"]

    def rotate(self, name, overlap="0s"):
        return self.api.run("apps", "rotate", name, "--overlap", overlap)["secret"]

    def revoke(self, name):
        return self.api.run("apps", "revoke", name)["application"]

    def activate(self, name):
        return self.api.run("apps", "activate", name)["application"]

    def delete(self, name):
        return self.api.run("apps", "delete", name)["application"]

    def rotate_master_key(self, user):
        return self.api.run("users", "rotate-master-key", user)["masterCredential"]

    def exchange(self, name, secret, *permissions, ttl="3600s"):
        pairs = [word for resource, action in permissions for word in ("--resource", resource, "--action", action)]
        arguments = ["tokens", "create", "--application", name, "--ttl", ttl, *pairs]
        return self.api.run(*arguments, KEYWARD_APPLICATION_SECRET=secret)["token"]

    def introspect(self, token):
        return self.api.run("tokens", "introspect", "--token-file", "-", given=token)

    def end(self, token):
        return self.api.run("tokens", "revoke", KEYWARD_TOKEN=token)


class UrbanDataAnalyticsByGrpc(Stranger):
    # A minute passes once, not for each way to ask.
    waits = True

    def api(self):
        return ByGrpc(self.owner)

    def setUp(self):
        super().setUp()
        self.uda = self.api()
        self.check = self.uda.api.check

    def mailed_token(self, count=1):
        """The token in the newest of so many mails: the one line of the plain text without a space or a slash."""
        mail = self.mails(count)[-1]
        lines = mail.get_body(("plain",)).get_content().splitlines()
        tokens = [line for line in lines if line and not re.search(r"[\s/]", line)]
        self.assertEqual(len(tokens), 1, lines)
        self.assertRegex(tokens[0], "^[0-9A-Za-z]{32,}$")
        return tokens[0]

    def verified(self, name="atlas"):
        self.uda.create(name)
        return self.uda.verify(ATLAS, self.mailed_token())[1]

    def test_a_new_application_is_unverified_and_its_contact_gets_a_mail(self):
        made = self.uda.create("atlas")
        self.assertEqual((made["name"], made["owner"]), (ATLAS, self.made["owner"]["name"]))
        self.assertEqual((made["displayName"], made["description"]), ("Atlas", "Maps of roads"))
        self.assertEqual(made["contactEmail"], "ana@acme.example", "the owner's by default")
        self.assertFalse(made.get("isVerified", False))
        self.assertFalse(made.get("isRevoked", False))
        token = self.mailed_token()
        mail = self.mails(1)[0]
        self.assertIn("ana@acme.example", mail["To"])
        self.assertIn(ATLAS, mail.get_body(("plain",)).get_content())
        self.assertNotIn(token, repr(made) + repr(self.uda.list()) + mail["Subject"])
        self.uda.create("globe", email="dev@acme.example")
        self.assertIn("dev@acme.example", self.mails(2)[-1]["To"])

    def test_nothing_is_exchanged_before_it_is_verified(self):
        self.uda.create("atlas")
        token = self.mailed_token()
        unverified = self.refused("UNAUTHENTICATED", self.uda.exchange, ATLAS, token)
        unknown = self.refused("UNAUTHENTICATED", self.uda.exchange, "tenants/acme/applications/nothing", token)
        for cause in ("no such application", "not verified", "secret"):
            self.assertIn(cause, unverified)
        self.assertEqual(unverified, unknown, "whether it exists is not told")
        self.refused("FAILED_PRECONDITION", self.uda.rotate, ATLAS)

    def test_the_mailed_token_verifies_it_once_and_shows_its_secret(self):
        self.uda.create("atlas")
        token = self.mailed_token()
        for wrong in ("", "x", token[:-1] + ("a" if token[-1] != "a" else "b"), token.swapcase()):
            self.refused("UNAUTHENTICATED", self.uda.verify, ATLAS, wrong)
        self.assertFalse(self.uda.get(ATLAS).get("isVerified", False))
        verified, secret = self.uda.verify(ATLAS, token)
        self.assertTrue(verified["isVerified"])
        self.refused("FAILED_PRECONDITION", self.uda.verify, ATLAS, token)
        self.refused("FAILED_PRECONDITION", self.uda.resend, ATLAS)
        self.assertNotIn(secret, repr(self.uda.list()) + repr(self.uda.get(ATLAS)))
        self.assertEqual(self.check(self.uda.exchange(ATLAS, secret), MAPS), (True, []))

    def test_a_second_mail_comes_a_minute_later_and_voids_the_one_before(self):
        secret = self.verified()
        self.uda.create("globe", email="dev@acme.example")
        first = self.mailed_token(2)
        asked = time.monotonic()
        self.refused("RESOURCE_EXHAUSTED", self.uda.resend, GLOBE)
        self.refused("RESOURCE_EXHAUSTED", self.uda.contact, ATLAS, "dev@acme.example")
        if not self.waits:
            return
        time.sleep(asked + 60.5 - time.monotonic())
        self.uda.resend(GLOBE)
        second = self.mailed_token(3)
        self.assertNotEqual(first, second)
        self.refused("UNAUTHENTICATED", self.uda.verify, GLOBE, first)
        self.assertTrue(self.uda.verify(GLOBE, second)[0]["isVerified"])
        changed = self.uda.contact(ATLAS, "dev@acme.example")
        self.assertFalse(changed.get("isVerified", False), "a new contact verifies it again")
        self.refused("UNAUTHENTICATED", self.uda.exchange, ATLAS, secret)

    def test_the_list_tells_of_each_what_their_list_tells(self):
        self.verified("atlas")
        self.uda.create("globe", "Maps of seas")
        self.uda.revoke(ATLAS)
        listed = {one["name"].rsplit("/", 1)[1]: one for one in self.uda.list()}
        self.assertEqual(set(listed), {"atlas", "globe"})
        told = lambda one: (one["displayName"], one["description"], one.get("isVerified", False), one.get("isRevoked", False))
        self.assertEqual(told(listed["atlas"]), ("Atlas", "Maps of roads", True, True))
        self.assertEqual(told(listed["globe"]), ("Globe", "Maps of seas", False, False))
        self.assertTrue(all(one["createTime"] for one in listed.values()))
        self.assertEqual(self.uda.get(ATLAS), listed["atlas"])

    def test_a_rotated_secret_is_shown_once_and_the_old_one_is_refused(self):
        old = self.verified()
        old_token = self.uda.exchange(ATLAS, old)
        new = self.uda.rotate(ATLAS)
        self.assertNotEqual(old, new)
        self.assertNotIn(new, repr(self.uda.get(ATLAS)))
        self.refused("UNAUTHENTICATED", self.uda.exchange, ATLAS, old)
        self.assertFalse(self.check(old_token, MAPS)[0], "a token dies with the secret that it came from")
        self.assertEqual(self.check(self.uda.exchange(ATLAS, new), MAPS), (True, []))
        newest = self.uda.rotate(ATLAS, overlap="7200s")
        for secret in (new, newest):
            self.assertEqual(self.check(self.uda.exchange(ATLAS, secret), MAPS), (True, []))

    def test_a_revoked_application_is_refused_until_it_is_activated(self):
        secret = self.verified()
        token = self.uda.exchange(ATLAS, secret)
        self.assertTrue(self.uda.revoke(ATLAS)["isRevoked"])
        allowed, reasons = self.check(token, MAPS)
        self.assertFalse(allowed)
        self.assertIn("APPLICATION_REVOKED", reasons)
        self.refused("FAILED_PRECONDITION", self.uda.exchange, ATLAS, secret)
        self.refused("UNAUTHENTICATED", self.uda.exchange, ATLAS, secret[:-1])
        self.assertEqual(self.server.terminate(), 0)
        self.server.start()
        self.assertFalse(self.check(token, MAPS)[0], "after a restart too")
        self.assertFalse(self.uda.activate(ATLAS).get("isRevoked", False))
        self.assertFalse(self.check(token, MAPS)[0], "its tokens died for good")
        self.assertEqual(self.check(self.uda.exchange(ATLAS, secret), MAPS), (True, []))

    def test_a_deleted_application_is_gone(self):
        secret = self.verified()
        token = self.uda.exchange(ATLAS, secret)
        self.assertIn("deleteTime", self.uda.delete(ATLAS))
        self.assertEqual(self.uda.list(), [])
        self.assertFalse(self.check(token, MAPS)[0])
        self.refused("UNAUTHENTICATED", self.uda.exchange, ATLAS, secret)
        self.refused("FAILED_PRECONDITION", self.uda.activate, ATLAS)
        self.refused("ALREADY_EXISTS", self.uda.create, "atlas")

    def test_an_access_token_holds_what_its_application_holds_or_less(self):
        secret = self.verified()
        whole = self.uda.exchange(ATLAS, secret)
        self.assertEqual(self.check(whole, MAPS, SQL), (True, []))
        self.assertEqual(self.check(whole, ("apis/import", "use")), (False, ["NOT_GRANTED"]))
        narrow = self.uda.exchange(ATLAS, secret, MAPS)
        self.assertEqual(self.check(narrow, MAPS), (True, []))
        self.assertEqual(self.check(narrow, SQL), (False, ["NOT_GRANTED"]))
        self.refused("PERMISSION_DENIED", self.uda.exchange, ATLAS, secret, ("apis/import", "use"))
        self.refused("INVALID_ARGUMENT", self.uda.exchange, ATLAS, secret, ttl="86401s")
        self.refused("INVALID_ARGUMENT", self.uda.exchange, ATLAS, secret, ttl="0s")
        told = self.uda.introspect(narrow)
        self.assertTrue(told["active"])
        self.assertEqual(told["principal"]["application"], ATLAS)
        self.uda.end(narrow)
        self.assertFalse(self.check(narrow, MAPS)[0])
        self.assertEqual(self.uda.introspect(narrow), {"active": False})
        self.uda.end(narrow)
        self.assertEqual(self.check(whole, MAPS), (True, []))

    def test_the_users_master_key_is_rotated_and_the_application_goes_on(self):
        secret = self.verified()
        token = self.uda.exchange(ATLAS, secret)
        old = self.owner.credential
        new = self.uda.rotate_master_key(self.made["owner"]["name"])
        self.assertEqual(self.check(old), (False, ["ROTATED_OUT"]))
        self.refused("UNAUTHENTICATED", self.uda.list)
        self.assertEqual(len(self.uda.holding(new).list()), 1)
        self.assertEqual(self.check(token, MAPS), (True, []))

    def test_an_unknown_application_is_refused_as_unknown(self):
        nothing = "tenants/acme/applications/nothing"
        for refused in (self.uda.get, self.uda.resend, self.uda.rotate, self.uda.revoke, self.uda.activate, self.uda.delete):
            self.assertIn("nothing", self.refused("NOT_FOUND", refused, nothing))
        told = self.refused("UNAUTHENTICATED", self.uda.exchange, nothing, "a secret")
        self.assertIn("no such application", told)

    def test_another_tenant_sees_none_of_it(self):
        self.verified()
        made = self.root.call("TenantService/CreateTenant", {"tenantId": "bolt", "owner": {"email": "b@bolt.example"}})
        bolt = self.uda.holding(made["masterCredential"])
        for refused in (bolt.get, bolt.rotate, bolt.revoke, bolt.delete):
            self.refused("NOT_FOUND", refused, ATLAS)
        self.assertEqual(bolt.list(), [])
        self.refused("UNAUTHENTICATED", self.uda.holding("kw_unknown").list)


class UrbanDataAnalyticsByCommandLine(UrbanDataAnalyticsByGrpc):
    waits = False

    def api(self):
        return ByCommandLine(CommandLine(self.server, self.owner.credential))


if __name__ == "__main__":
    unittest.main()
