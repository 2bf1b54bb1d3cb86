"""CartoVista's API keys: under a tenant and a user, with a second secret on demand, by gRPC and by the command line.

Their `tenantUrlCode` is our tenant, their secret key our second secret: without it the key is no use to anyone.
"""

import unittest

from stranger import CommandLine, Stranger

MAP = ("maps/roads", "view")


class ByGrpc:
    """The calls of their documents, each one RPC."""

    def __init__(self, api):
        self.api = api

    def holding(self, credential):
        return ByGrpc(self.api.holding(credential))

    def create(self, user, description):
        key = {"description": description, "grants": [{"resources": {"resource": "maps/*", "actions": ["view"]}}]}
        made = self.api.call("KeyService/CreateKey", {"parent": f"tenants/acme/users/{user}", "key": key})
        return made["key"], made["credential"]

    def list(self, user):
        return self.api.call("KeyService/ListKeys", {"parent": f"tenants/acme/users/{user}"}).get("keys", [])

    def get(self, name):
        return self.api.call("KeyService/GetKey", {"name": name})["key"]

    def generate_secret(self, name):
        made = self.api.call("KeyService/GenerateSecretKey", {"name": name})
        return made["key"], made["secretKey"]

    def regenerate(self, name):
        return self.api.call("KeyService/RotateKey", {"name": name})["credential"]

    def describe(self, name, description):
        request = {"key": {"name": name, "description": description}, "updateMask": "description"}
        return self.api.call("KeyService/UpdateKey", request)["key"]

    def delete(self, name):
        return self.api.call("KeyService/DeleteKey", {"name": name})["key"]


class ByCommandLine(ByGrpc):
    """The same calls, each one command."""

    def holding(self, credential):
        return ByCommandLine(self.api.holding(credential))

    def create(self, user, description):
        made = self.api.run(
            *("keys", "create", "--tenant", "acme", "--owner", user),
            *("--description", description, "--grant", "maps/*=view"),
        )
        return made["key"], made["credential"]

    def list(self, user):
        return self.api.run("keys", "list", "--tenant", "acme", "--owner", user)["keys"]

    def get(self, name):
        return self.api.run("keys", "get", name)["key"]

    def generate_secret(self, name):
        made = self.api.run("keys", "generate-secret-key", name)
        return made["key"], made["secretKey"]

    def regenerate(self, name):
        return self.api.run("keys", "rotate", name)["credential"]

    def describe(self, name, description):
        return self.api.run("keys", "update", name, "--description", description)["key"]

    def delete(self, name):
        return self.api.run("keys", "delete", name)["key"]


class CartoVistaByGrpc(Stranger):
    def vista(self, credential):
        return ByGrpc(self.root.holding(credential))

    def setUp(self):
        super().setUp()
        users = {}
        for name in ("bo", "cleo"):
            request = {"parent": "tenants/acme", "userId": name, "user": {"email": f"{name}@acme.example"}}
            users[name] = self.vista(self.owner.call("UserService/CreateUser", request)["masterCredential"])
        self.bo, self.cleo = users["bo"], users["cleo"]
        self.check = self.bo.api.check

    def refused_check(self, reason, credential, **more):
        self.assertEqual(self.check(credential, MAP, **more), (False, [reason]))

    def test_a_key_is_under_a_tenant_and_a_user(self):
        key, credential = self.bo.create("bo", "the atlas")
        self.assertTrue(key["name"].startswith("tenants/acme/keys/"), key)
        self.assertEqual((key["owner"], key["description"]), ("tenants/acme/users/bo", "the atlas"))
        self.assertNotIn("hasSecretKey", key)
        self.assertEqual(self.check(credential, MAP, tenant="tenants/acme"), (True, []))
        self.refused("NOT_FOUND", self.vista(self.owner.credential).create, "nobody", "of nobody")

    def test_another_tenant_sees_none_of_it(self):
        made = self.root.call("TenantService/CreateTenant", {"tenantId": "bolt", "owner": {"email": "bo@acme.example"}})
        bolt = self.vista(made["masterCredential"])
        key, credential = self.bo.create("bo", "the atlas")
        self.refused_check("NOT_FOUND", credential, tenant="tenants/bolt")
        self.refused("NOT_FOUND", bolt.list, "bo")
        self.refused("NOT_FOUND", bolt.get, key["name"])
        self.refused("NOT_FOUND", bolt.generate_secret, key["name"])
        self.refused("NOT_FOUND", bolt.delete, key["name"])
        self.assertEqual(self.check(credential, MAP), (True, []))

    def test_a_generated_secret_is_shown_once_and_then_required(self):
        key, credential = self.bo.create("bo", "the atlas")
        self.assertEqual(self.check(credential, MAP), (True, []))
        after, secret = self.bo.generate_secret(key["name"])
        self.assertTrue(after["hasSecretKey"])
        self.assertRegex(secret, "^[0-9A-Za-z]{43,}$")
        self.assertNotIn(secret, repr(self.bo.get(key["name"])) + repr(self.bo.list("bo")))
        self.refused_check("SECRET_KEY_REQUIRED", credential)
        self.refused_check("SECRET_KEY_MISMATCH", credential, secret_key=secret[:-1] + ("a" if secret[-1] != "a" else "b"))
        self.refused_check("SECRET_KEY_MISMATCH", credential, secret_key=f"{secret} ")
        self.refused_check("NOT_FOUND", secret)
        self.assertEqual(self.check(credential, MAP, secret_key=secret), (True, []))

    def test_a_regenerated_secret_takes_the_place_of_the_old_one(self):
        key, credential = self.bo.create("bo", "the atlas")
        _, old = self.bo.generate_secret(key["name"])
        _, new = self.bo.generate_secret(key["name"])
        self.assertNotEqual(old, new)
        self.refused_check("SECRET_KEY_MISMATCH", credential, secret_key=old)
        self.assertEqual(self.check(credential, MAP, secret_key=new), (True, []))

    def test_a_regenerated_key_keeps_its_secret(self):
        key, old = self.bo.create("bo", "the atlas")
        _, secret = self.bo.generate_secret(key["name"])
        new = self.bo.regenerate(key["name"])
        self.refused_check("ROTATED_OUT", old, secret_key=secret)
        self.refused_check("SECRET_KEY_REQUIRED", new)
        self.assertEqual(self.check(new, MAP, secret_key=secret), (True, []))

    def test_keyward_itself_asks_its_callers_for_their_secret(self):
        master = next(key for key in self.bo.list("bo") if key["type"] == "KEY_TYPE_MASTER")
        _, secret = self.bo.generate_secret(master["name"])
        self.assertIn("SECRET_KEY_REQUIRED", self.refused("UNAUTHENTICATED", self.bo.list, "bo"))
        credential = self.bo.api.credential
        both = [("authorization", f"Bearer {credential}"), ("x-secret-key", secret)]
        listed = self.owner.call("KeyService/ListKeys", {"parent": "tenants/acme/users/bo"}, both)["keys"]
        self.assertEqual(len(listed), 1)
        line = CommandLine(self.server, credential)
        self.assertEqual(line.run("keys", "list", "--owner", "bo", KEYWARD_SECRET_KEY=secret)["keys"], listed)

    def test_an_update_changes_what_is_said_and_nothing_else(self):
        key, credential = self.bo.create("bo", "the atlas")
        _, secret = self.bo.generate_secret(key["name"])
        changed = self.bo.describe(key["name"], "the other atlas")
        self.assertEqual(changed["description"], "the other atlas")
        kept = ("name", "uid", "owner", "grants", "createTime", "state")
        self.assertEqual([changed[field] for field in kept], [key[field] for field in kept])
        self.assertTrue(changed["hasSecretKey"])
        self.assertEqual(self.check(credential, MAP, secret_key=secret), (True, []))
        self.refused("NOT_FOUND", self.bo.describe, "tenants/acme/keys/nothing", "nothing")

    def test_a_deleted_key_is_gone(self):
        key, credential = self.bo.create("bo", "the atlas")
        self.assertIn("deleteTime", self.bo.delete(key["name"]))
        self.refused_check("DELETED", credential)
        self.assertNotIn(key["name"], [listed["name"] for listed in self.bo.list("bo")])
        self.refused("FAILED_PRECONDITION", self.bo.generate_secret, key["name"])

    def test_keys_are_listed_per_user(self):
        of_bo = {self.bo.create("bo", f"atlas {number}")[0]["name"] for number in range(3)}
        of_cleo, _ = self.cleo.create("cleo", "globe")
        regular = lambda keys: {key["name"] for key in keys if key["type"] == "KEY_TYPE_REGULAR"}
        self.assertEqual(regular(self.bo.list("bo")), of_bo)
        self.assertEqual(regular(self.cleo.list("cleo")), {of_cleo["name"]})
        self.assertEqual(regular(self.vista(self.owner.credential).list("bo")), of_bo)
        for refused in (self.bo.get, self.bo.generate_secret, self.bo.regenerate, self.bo.delete):
            self.refused("PERMISSION_DENIED", refused, of_cleo["name"])
        self.refused("PERMISSION_DENIED", self.bo.list, "cleo")


class CartoVistaByCommandLine(CartoVistaByGrpc):
    def vista(self, credential):
        return ByCommandLine(CommandLine(self.server, credential))


if __name__ == "__main__":
    unittest.main()
