"""Cogniac's API keys: under a user, with a description, shown once, with the time of last use, as a bearer."""

import datetime
import unittest

from stranger import CommandLine, Stranger

CAMERAS = {"resources": {"resource": "cameras/*", "actions": ["read"]}}
OWN_KEYS = {"resources": {"resource": "keyward/keys/*", "actions": ["get", "list"]}}


class Cogniac(Stranger):
    def setUp(self):
        super().setUp()
        made = self.owner.call(
            "UserService/CreateUser",
            {"parent": "tenants/-", "userId": "bo", "user": {"email": "bo@acme.example", "givenName": "Bo"}},
        )
        self.user = made["user"]["name"]
        self.bo = self.root.holding(made["masterCredential"])

    def create(self, description, grants=(CAMERAS,), by=None):
        key = {"description": description, "grants": list(grants)}
        return (by or self.bo).call("KeyService/CreateKey", {"parent": self.user, "key": key})

    def list(self, **more):
        return self.bo.call("KeyService/ListKeys", {"parent": self.user, **more}).get("keys", [])

    def test_id_and_key_are_shown_once_at_creation(self):
        made = self.create("line 3")
        name, credential = made["key"]["name"], made["credential"]
        self.assertEqual(made["key"]["owner"], self.user)
        self.assertEqual(made["key"]["description"], "line 3")
        one = self.bo.call("KeyService/GetKey", {"name": name})["key"]
        self.assertEqual(one, made["key"])
        self.assertIn(one, self.list())
        secret = credential.rsplit("_", 1)[1]
        self.assertNotIn(secret, repr(one) + repr(self.list()))

    def test_all_keys_of_the_user_are_listed_and_no_one_elses(self):
        self.owner.call("KeyService/CreateKey", {"parent": "tenants/-", "key": {"displayName": "ana's"}})
        descriptions = {f"line {number}" for number in range(5)}
        for description in descriptions:
            self.create(description)
        listed = [key for key in self.list() if key["type"] == "KEY_TYPE_REGULAR"]
        self.assertEqual({key["description"] for key in listed}, descriptions)
        self.assertEqual({key["owner"] for key in listed}, {self.user})
        paged = self.bo.call("KeyService/ListKeys", {"parent": self.user, "pageSize": 2})
        self.assertEqual(len(paged["keys"]), 2)
        more = self.bo.call(
            "KeyService/ListKeys", {"parent": self.user, "pageSize": 100, "pageToken": paged["nextPageToken"]}
        )
        self.assertEqual(paged["keys"] + more["keys"], self.list())

    def test_the_same_by_command_line(self):
        line = CommandLine(self.server, self.bo.credential)
        made = line.run("keys", "create", "--owner", "bo", "--description", "line 3", "--grant", "cameras/*=read")
        self.assertEqual(made["key"]["owner"], self.user)
        listed = line.run("keys", "list", "--owner", "bo")["keys"]
        self.assertIn(made["key"], listed)
        self.assertEqual(line.run("keys", "get", made["key"]["name"])["key"], made["key"])
        self.assertEqual(line.check(made["credential"], ("cameras/4", "read")), (True, []))
        line.run("keys", "delete", made["key"]["name"])
        self.assertNotIn(made["key"]["name"], [key["name"] for key in line.run("keys", "list", "--owner", "bo")["keys"]])

    def test_last_auth_tells_the_minute_of_the_last_use_and_survives_a_restart(self):
        used, unused = self.create("used"), self.create("unused")
        self.assertNotIn("lastAuthTime", used["key"])
        before = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
        self.assertEqual(self.bo.check(used["credential"], ("cameras/1", "read")), (True, []))
        self.assertEqual(self.bo.check(unused["credential"], ("cameras/1", "write")), (False, ["NOT_GRANTED"]))
        after = datetime.datetime.now(datetime.timezone.utc)
        self.assertEqual(self.server.terminate(), 0)
        self.server.start()
        key = self.bo.call("KeyService/GetKey", {"name": used["key"]["name"]})["key"]
        last = datetime.datetime.fromisoformat(key.pop("lastAuthTime").replace("Z", "+00:00"))
        self.assertEqual((last.second, last.microsecond), (0, 0))
        self.assertTrue(before <= last <= after, (before, last, after))
        self.assertEqual(key, used["key"], "being used is no change of a key")
        key = self.bo.call("KeyService/GetKey", {"name": unused["key"]["name"]})["key"]
        self.assertNotIn("lastAuthTime", key, "a denial is no use")

    def test_a_deleted_key_does_not_work_and_is_not_listed(self):
        made = self.create("line 3")
        name = made["key"]["name"]
        self.bo.call("KeyService/DeleteKey", {"name": name})
        self.assertEqual(self.bo.check(made["credential"], ("cameras/1", "read")), (False, ["DELETED"]))
        self.assertNotIn(name, [key["name"] for key in self.list()])
        self.assertIn(name, [key["name"] for key in self.list(showDeleted=True)])

    def test_a_key_is_a_bearer_credential_in_authorization(self):
        key = self.create("reader", [CAMERAS, OWN_KEYS], by=self.owner)["credential"]
        request = {"parent": self.user}
        for metadata in (
            [("authorization", f"Bearer {key}")],
            [("authorization", f"bearer {key}")],
            [("x-api-key", key)],
        ):
            listed = self.bo.call("KeyService/ListKeys", request, metadata)["keys"]
            self.assertEqual({listed_key["owner"] for listed_key in listed}, {self.user})
        for metadata in (
            [],
            [("authorization", key)],
            [("authorization", f"Basic {key}")],
            [("authorization", f"Bearer {key}x")],
            [("authorization", f"Bearer {key}"), ("x-api-key", key)],
        ):
            self.refused("UNAUTHENTICATED", self.bo.call, "KeyService/ListKeys", request, metadata)

    def test_a_user_hands_on_no_more_than_it_holds(self):
        self.refused("PERMISSION_DENIED", self.create, "spy", [OWN_KEYS])


if __name__ == "__main__":
    unittest.main()
