"""CARTO's Auth API, step by step as its documents show it (`/api/v3/api_keys`), by gRPC and by the command line.

Their master, regular and default public keys are ours; `name` is the key's id and its display name; `token` is the
credential, which Keyward shows once where CARTO shows it again.
"""

import unittest

from stranger import CommandLine, Stranger

GRANTS = [
    {"apis": {"names": ["maps", "sql"]}},
    {
        "database": {
            "tables": [
                {"schema": "public", "name": "roads", "permissions": ["select", "insert"]},
                {"schema": "public", "name": "tolls", "permissions": ["update", "delete"]},
            ],
            "schemas": [{"name": "public", "permissions": ["create"]}],
        }
    },
    {"dataservices": {"names": ["geocoding", "routing"]}},
]

HELD = [
    ("apis/maps", "use"),
    ("apis/sql", "use"),
    ("tables/public/roads", "select"),
    ("tables/public/roads", "insert"),
    ("tables/public/tolls", "update"),
    ("tables/public/tolls", "delete"),
    ("schemas/public", "create"),
    ("dataservices/geocoding", "use"),
    ("dataservices/routing", "use"),
]

NOT_HELD = [
    ("apis/import", "use"),
    ("tables/public/roads", "update"),
    ("tables/public/roads", "delete"),
    ("tables/public/tolls", "select"),
    ("tables/private/roads", "select"),
    ("tables/public/roads/x", "select"),
    ("schemas/private", "create"),
    ("dataservices/isolines", "use"),
]


class ByGrpc:
    """The calls of the Auth API, each one RPC."""

    def __init__(self, api):
        self.api = api

    def holding(self, credential):
        return ByGrpc(self.api.holding(credential))

    def list(self, kind=None):
        request = {"parent": "tenants/-", "filter": f"type = KEY_TYPE_{kind}" if kind else ""}
        return self.api.call("KeyService/ListKeys", request).get("keys", [])

    def named(self, display_name):
        request = {"parent": "tenants/-", "filter": f'display_name = "{display_name}"'}
        return self.api.call("KeyService/ListKeys", request).get("keys", [])

    def create(self, name, display_name):
        key = {"displayName": display_name, "grants": GRANTS}
        made = self.api.call("KeyService/CreateKey", {"parent": "tenants/-", "keyId": name, "key": key})
        return made["key"], made["credential"]

    def get(self, name):
        return self.api.call("KeyService/GetKey", {"name": f"tenants/-/keys/{name}"})["key"]

    def regenerate(self, name):
        return self.api.call("KeyService/RotateKey", {"name": f"tenants/-/keys/{name}"})["credential"]

    def regenerate_master(self, user):
        return self.api.call("UserService/RotateMasterKey", {"name": user})["masterCredential"]

    def publish(self, name, schema, table):
        tables = [{"schema": schema, "name": table, "permissions": ["select"]}]
        key = {"name": f"tenants/-/keys/{name}", "grants": [{"database": {"tables": tables}}]}
        return self.api.call("KeyService/UpdateKey", {"key": key, "updateMask": "grants"})["key"]

    def expire(self, name):
        key = {"name": f"tenants/-/keys/{name}", "expireTime": "2100-01-01T00:00:00Z"}
        return self.api.call("KeyService/UpdateKey", {"key": key, "updateMask": "expireTime"})["key"]

    def suspend(self, name):
        return self.api.call("KeyService/SuspendKey", {"name": f"tenants/-/keys/{name}"})

    def revoke(self, name):
        return self.api.call("KeyService/RevokeKey", {"name": f"tenants/-/keys/{name}"})

    def delete(self, name):
        return self.api.call("KeyService/DeleteKey", {"name": f"tenants/-/keys/{name}"})["key"]

    def check(self, credential, *permissions):
        return self.api.check(credential, *permissions)


class ByCommandLine(ByGrpc):
    """The same calls, each one command."""

    def holding(self, credential):
        return ByCommandLine(self.api.holding(credential))

    def list(self, kind=None):
        more = ["--filter", f"type = KEY_TYPE_{kind}"] if kind else []
        return self.api.run("keys", "list", *more)["keys"]

    def named(self, display_name):
        return self.api.run("keys", "list", "--filter", f'display_name = "{display_name}"')["keys"]

    def create(self, name, display_name):
        made = self.api.run(
            *("keys", "create", name, "--display-name", display_name, "--grant-api", "maps", "--grant-api", "sql"),
            *("--grant-table", "public.roads=select,insert", "--grant-table", "public.tolls=update,delete"),
            *("--grant-schema", "public=create"),
            *("--grant-dataservice", "geocoding", "--grant-dataservice", "routing"),
        )
        return made["key"], made["credential"]

    def get(self, name):
        return self.api.run("keys", "get", name)["key"]

    def regenerate(self, name):
        return self.api.run("keys", "rotate", name)["credential"]

    def regenerate_master(self, user):
        return self.api.run("users", "rotate-master-key", user)["masterCredential"]

    def publish(self, name, schema, table):
        return self.api.run("keys", "update", name, "--grant-table", f"{schema}.{table}=select")["key"]

    def expire(self, name):
        return self.api.run("keys", "update", name, "--expire-time", "2100-01-01T00:00:00Z")["key"]

    def suspend(self, name):
        return self.api.run("keys", "suspend", name)

    def revoke(self, name):
        return self.api.run("keys", "revoke", name)

    def delete(self, name):
        return self.api.run("keys", "delete", name)["key"]


def identity(key):
    return key["name"].rsplit("/", 1)[1]


class CartoByGrpc(Stranger):
    def auth_api(self):
        return ByGrpc(self.owner)

    def setUp(self):
        super().setUp()
        self.carto = self.auth_api()
        self.master = identity(self.made["masterKey"])
        self.default_public = identity(self.made["defaultPublicKey"])
        self.public_credential = self.made["defaultPublicCredential"]

    def test_the_default_public_and_the_master_key_exist_from_the_start(self):
        kinds = {identity(key): key["type"] for key in self.carto.list()}
        self.assertEqual(kinds, {self.master: "KEY_TYPE_MASTER", self.default_public: "KEY_TYPE_DEFAULT_PUBLIC"})
        key = self.carto.get(self.default_public)
        self.assertEqual(key["publicCredential"], self.public_credential)
        self.assertNotIn("grants", key)
        self.assertNotIn("owner", key)
        self.assertEqual(self.carto.get(self.master)["owner"], self.made["owner"]["name"])

    def test_a_regular_key_is_made_found_and_listed_without_its_token(self):
        key, token = self.carto.create("traffic", "Traffic of Madrid")
        self.assertEqual(key["name"], "tenants/acme/keys/traffic")
        self.assertEqual((key["type"], key["state"]), ("KEY_TYPE_REGULAR", "KEY_STATE_ACTIVE"))
        self.assertEqual(key["grants"], GRANTS)
        self.assertEqual(self.carto.get("traffic"), key)
        self.assertEqual(self.carto.named("Traffic of Madrid"), [key])
        self.assertEqual(self.carto.list("REGULAR"), [key])
        self.assertEqual([identity(key) for key in self.carto.list("MASTER")], [self.master])
        self.assertEqual([identity(key) for key in self.carto.list("DEFAULT_PUBLIC")], [self.default_public])
        self.assertEqual(len(self.carto.list()), 3)
        self.assertNotIn(token, repr(self.carto.list()) + repr(self.carto.get("traffic")))

    def test_a_name_that_is_taken_is_refused(self):
        self.carto.create("traffic", "Traffic")
        self.assertIn("key_id", self.refused("ALREADY_EXISTS", self.carto.create, "traffic", "Another"))
        self.assertIn("display_name", self.refused("ALREADY_EXISTS", self.carto.create, "another", "Traffic"))
        self.assertEqual(len(self.carto.list("REGULAR")), 1)

    def test_a_regular_key_may_do_what_it_is_granted_and_nothing_else(self):
        _, token = self.carto.create("traffic", "Traffic")
        for permission in HELD:
            self.assertEqual(self.carto.check(token, permission), (True, []), permission)
        self.assertEqual(self.carto.check(token, *HELD), (True, []))
        for permission in NOT_HELD:
            self.assertEqual(self.carto.check(token, permission), (False, ["NOT_GRANTED"]), permission)
            self.assertEqual(self.carto.check(token, HELD[0], permission), (False, ["NOT_GRANTED"]), permission)

    def test_a_regular_key_manages_no_keys(self):
        self.carto.create("victim", "Victim")
        _, token = self.carto.create("traffic", "Traffic")
        regular = self.carto.holding(token)
        self.refused("PERMISSION_DENIED", regular.create, "more", "More")
        self.refused("PERMISSION_DENIED", regular.list)
        self.refused("PERMISSION_DENIED", regular.get, "victim")
        self.refused("PERMISSION_DENIED", regular.regenerate, "traffic")
        self.refused("PERMISSION_DENIED", regular.delete, "victim")
        self.refused("PERMISSION_DENIED", regular.publish, self.default_public, "public", "roads")
        self.refused("UNAUTHENTICATED", self.carto.holding("kw_unknown").list)

    def test_the_master_key_may_do_everything(self):
        master = self.made["masterCredential"]
        self.assertEqual(self.carto.check(master, *HELD, *NOT_HELD), (True, []))

    def test_a_regenerated_token_works_and_the_old_one_does_not(self):
        before, old = self.carto.create("traffic", "Traffic")
        new = self.carto.regenerate("traffic")
        self.assertNotEqual(old, new)
        self.assertEqual(self.carto.check(old, HELD[0]), (False, ["ROTATED_OUT"]))
        self.assertEqual(self.carto.check(new, *HELD), (True, []))
        after = self.carto.get("traffic")
        kept = ("name", "uid", "grants", "displayName", "createTime")
        self.assertEqual([after[field] for field in kept], [before[field] for field in kept])

    def test_the_master_key_can_be_regenerated(self):
        old = self.made["masterCredential"]
        new = self.carto.regenerate_master(self.made["owner"]["name"])
        self.assertEqual(self.carto.check(old), (False, ["ROTATED_OUT"]))
        self.refused("UNAUTHENTICATED", self.carto.list)
        self.assertEqual(len(self.carto.holding(new).list()), 2)
        newest = self.carto.holding(new).regenerate(self.master)
        self.assertEqual(self.carto.check(new), (False, ["ROTATED_OUT"]))
        self.assertEqual(self.carto.check(newest), (True, []))

    def test_the_default_public_key_changes_only_in_what_it_grants(self):
        for refused in (self.carto.delete, self.carto.regenerate, self.carto.suspend, self.carto.revoke):
            self.refused("FAILED_PRECONDITION", refused, self.default_public)
        self.refused("FAILED_PRECONDITION", self.carto.expire, self.default_public)
        select = ("tables/public/roads", "select")
        self.assertEqual(self.carto.check(self.public_credential), (True, []))
        self.assertEqual(self.carto.check(self.public_credential, select), (False, ["NOT_GRANTED"]))
        self.carto.publish(self.default_public, "public", "roads")
        self.assertEqual(self.carto.check(self.public_credential, select), (True, []))
        insert = ("tables/public/roads", "insert")
        self.assertEqual(self.carto.check(self.public_credential, insert), (False, ["NOT_GRANTED"]))
        self.assertEqual(self.carto.get(self.default_public)["publicCredential"], self.public_credential)

    def test_the_master_key_cannot_be_removed(self):
        for refused in (self.carto.delete, self.carto.suspend, self.carto.revoke):
            self.refused("FAILED_PRECONDITION", refused, self.master)
        self.assertEqual(self.carto.check(self.made["masterCredential"]), (True, []))

    def test_a_deleted_regular_key_is_gone_and_its_name_is_free_for_people(self):
        _, token = self.carto.create("traffic", "Traffic")
        self.carto.delete("traffic")
        self.assertEqual(self.carto.check(token, HELD[0]), (False, ["DELETED"]))
        self.assertEqual(self.carto.list("REGULAR"), [])
        _, token = self.carto.create("traffic-2", "Traffic")
        self.assertEqual(self.carto.check(token, HELD[0]), (True, []))
        self.refused("NOT_FOUND", self.carto.delete, "nothing")


class CartoByCommandLine(CartoByGrpc):
    def auth_api(self):
        return ByCommandLine(CommandLine(self.server, self.owner.credential))


if __name__ == "__main__":
    unittest.main()
