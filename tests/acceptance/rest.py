"""REST through a real Envoy, by curl: our own paths by deploy/envoy/rest.yaml, and the documented commands of Cogniac
and CartoVista by deploy/envoy/rest-compat.yaml.
"""

import json
import os
import subprocess
import threading
import unittest

from sidecar import Sidecar
from stranger import DEADLINE, Stranger

MAPS = {"resources": {"resource": "maps/*", "actions": ["view"]}}
MAP = ("maps/roads", "view")


class Answer:
    """What curl got."""

    def __init__(self, text):
        body, self.status, self.type = text.rsplit("\n", 2)
        self.status = int(self.status)
        self.text = body
        self.body = json.loads(body) if self.type.startswith("application/json") else None

    def __repr__(self):
        return f"{self.status} {self.type}: {self.text}"


def curl(*arguments, method=None, data=None, key=None):
    """Runs curl with these arguments, and those of the other parameters as a person would write them."""
    command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}\n%{content_type}"]
    if method:
        command += ["-X", method]
    if key:
        command += ["-H", f"Authorization: Bearer {key}"]
    if data is not None:
        command += ["-H", "Content-Type: application/json", "-d", data if isinstance(data, str) else json.dumps(data)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    return Answer(done.stdout)


class Rest(Stranger):
    EXAMPLE = "rest.yaml"

    def setUp(self):
        super().setUp()
        self.sidecar = Sidecar(self.EXAMPLE, self.folder, {50052: self.server.admin})
        self.addCleanup(self.sidecar.kill)
        self.key = self.made["masterCredential"]

    def ask(self, method, path, data=None, key=None, headers=()):
        """A call by the tenant's owner, or whoever holds `key`."""
        more = [part for header in headers for part in ("-H", header)]
        key = self.key if key is None else key
        return curl(*more, self.sidecar.url(8080) + path, method=method, data=data, key=key)

    def good(self, *arguments, **named):
        answer = self.ask(*arguments, **named)
        self.assertEqual((answer.status, answer.type), (200, "application/json"), answer)
        return answer.body

    def bad(self, status, code, reason, *arguments, **named):
        """Asserts that a call is refused as google.rpc.Status, with an ErrorInfo; the details that are not it."""
        answer = self.ask(*arguments, **named)
        self.assertEqual((answer.status, answer.type), (status, "application/json"), answer)
        self.assertEqual(answer.body["code"], code, answer)
        self.assertTrue(answer.body["message"], answer)
        info, *more = answer.body["details"]
        self.assertEqual(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo")
        self.assertEqual((info["domain"], info["reason"]), ("keyward.v1", reason), answer)
        return more


class OwnPaths(Rest):
    def test_keys_from_their_making_to_their_end(self):
        made = self.good("POST", "/v1/tenants/-/keys", {"displayName": "atlas", "grants": [MAPS]})
        name, credential = made["key"]["name"], made["credential"]
        self.assertEqual(self.root.check(credential, MAP), (True, []))
        self.assertEqual(self.good("GET", f"/v1/{name}")["key"], made["key"])
        listed = self.good("GET", "/v1/tenants/acme/keys?filter=type%20%3D%20KEY_TYPE_REGULAR&pageSize=7")
        self.assertEqual(listed, {"keys": [made["key"]], "nextPageToken": ""})

        changed = self.good("PATCH", f"/v1/{name}?updateMask=description", {"description": "new", "displayName": "x"})
        self.assertEqual((changed["key"]["description"], changed["key"]["displayName"]), ("new", "atlas"))
        secret = self.good("POST", f"/v1/{name}:generateSecretKey", {})["secretKey"]
        self.assertEqual(self.root.check(credential, MAP), (False, ["SECRET_KEY_REQUIRED"]))
        rotated = self.good("POST", f"/v1/{name}:rotate", {"overlap": "60s"})["credential"]
        for one in (credential, rotated):
            self.assertEqual(self.root.check(one, MAP, secretKey=secret), (True, []))
        self.good("POST", f"/v1/{name}:finishRotation", {})
        self.assertEqual(self.root.check(credential, MAP, secretKey=secret), (False, ["ROTATED_OUT"]))

        self.assertEqual(self.good("POST", f"/v1/{name}:suspend", {})["key"]["state"], "KEY_STATE_SUSPENDED")
        self.assertEqual(self.good("POST", f"/v1/{name}:activate", {})["key"]["state"], "KEY_STATE_ACTIVE")
        self.assertEqual(self.good("POST", "/v1/keys:lookup", {"credential": rotated})["key"]["name"], name)
        self.assertTrue(self.good("DELETE", f"/v1/{name}")["key"]["deleteTime"])
        self.assertEqual(self.good("POST", f"/v1/{name}:undelete", {})["key"]["state"], "KEY_STATE_ACTIVE")
        revoked = self.good("POST", f"/v1/{name}:revoke", {"reason": "REVOCATION_REASON_KEY_COMPROMISE"})
        self.assertEqual(revoked["key"]["state"], "KEY_STATE_REVOKED")
        self.assertEqual(self.root.check(rotated, MAP, secretKey=secret), (False, ["REVOKED"]))

        leaked = self.good("POST", "/v1/tenants/-/keys", {})["credential"]
        self.good("POST", "/v1/credentials:revoke", {"credentials": [leaked]}, key="")
        self.assertEqual(self.root.check(leaked), (False, ["REVOKED"]))

    def test_users_and_their_keys_and_sessions(self):
        made = self.good(
            "POST",
            "/v1/tenants/-/users",
            {"userId": "bo", "user": {"email": "bo@acme.example"}, "password": "correct horse"},
        )
        user = made["user"]["name"]
        self.assertEqual(user, "tenants/acme/users/bo")
        key = self.good("POST", f"/v1/{user}/keys", {"description": "bo's"}, key=made["masterCredential"])["key"]
        self.assertEqual(key["owner"], user)
        owned = self.good("GET", f"/v1/{user}/keys")["keys"]
        self.assertEqual({one["type"] for one in owned}, {"KEY_TYPE_MASTER", "KEY_TYPE_REGULAR"})
        self.assertEqual(len(self.good("GET", "/v1/tenants/-/users")["users"]), 2)
        named = self.good("PATCH", f"/v1/{user}?updateMask=givenName", {"givenName": "Bo"})["user"]
        self.assertEqual((named["givenName"], named["email"]), ("Bo", "bo@acme.example"))

        asked = {"email": "bo@acme.example", "password": "correct horse", "tenant": "tenants/acme"}
        session = self.good("POST", "/v1/sessions", asked, key="")["sessionToken"]
        self.assertEqual(self.good("GET", f"/v1/{user}", key=session)["user"]["name"], user)
        self.assertEqual(len(self.good("GET", f"/v1/{user}/sessions", key=session)["sessions"]), 1)
        self.good("POST", "/v1/tokens:revoke", {"token": session}, key=session)
        self.bad(401, 16, "CREDENTIAL_REFUSED", "GET", f"/v1/{user}", key=session)
        rotated = self.good("POST", f"/v1/{user}:rotateMasterKey", {})["masterCredential"]
        self.good("POST", f"/v1/{user}:suspend", {})
        self.assertEqual(self.root.check(rotated), (False, ["OWNER_SUSPENDED"]))
        self.good("POST", f"/v1/{user}:activate", {})
        self.assertTrue(self.good("DELETE", f"/v1/{user}")["user"]["deleteTime"])

    def test_tenants_events_and_what_root_sees(self):
        root = self.root.credential
        made = self.good("POST", "/v1/tenants", {"tenantId": "bolt", "owner": {"email": "bo@bolt.example"}}, key=root)
        self.assertEqual(made["tenant"]["name"], "tenants/bolt")
        self.assertEqual(self.good("GET", "/v1/tenants/bolt", key=made["masterCredential"])["tenant"], made["tenant"])
        names = [tenant["name"] for tenant in self.good("GET", "/v1/tenants", key=root)["tenants"]]
        self.assertEqual(names, ["tenants/acme", "tenants/bolt"])
        self.good("POST", "/v1/tenants/bolt:suspend", {}, key=root)
        self.assertEqual(self.root.check(made["masterCredential"]), (False, ["TENANT_SUSPENDED"]))
        self.good("POST", "/v1/tenants/bolt:activate", {}, key=root)
        self.assertEqual(
            self.good("PATCH", "/v1/tenants/bolt", {"displayName": "B"}, key=root)["tenant"]["displayName"], "B"
        )
        kinds = {event["kind"] for event in self.good("GET", "/v1/tenants/bolt/events", key=root)["events"]}
        self.assertLessEqual({"tenant.create", "tenant.suspend", "tenant.update"}, kinds)
        self.assertEqual(len(self.good("GET", "/v1/replicas", key=root)["replicas"]), 1)
        self.bad(403, 7, "NOT_GRANTED", "GET", "/v1/replicas")
        self.good("DELETE", "/v1/tenants/bolt", key=root)

    def test_events_are_watched_as_they_happen(self):
        url = self.sidecar.url(8080) + "/v1/tenants/-/events:watch?afterRevision=0"
        command = ["curl", "--silent", "--no-buffer", "-H", f"Authorization: Bearer {self.key}", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
            patience = threading.Timer(DEADLINE, watching.kill)
            patience.start()
            told = b""

            def read_until(word):
                nonlocal told
                while word not in told:
                    more = os.read(watching.stdout.fileno(), 65536)
                    self.assertTrue(more, told)
                    told += more

            read_until(b"tenant.create")
            self.assertNotIn(b"key.create", told)
            name = self.good("POST", "/v1/tenants/-/keys", {})["key"]["name"]
            read_until(name.encode())
            patience.cancel()
            watching.kill()
        self.assertIn(b"key.create", told)
        self.bad(400, 9, "STATE_FORBIDS", "GET", "/v1/tenants/-/events:watch?afterRevision=1000000")

    def test_applications_and_tokens(self):
        made = self.good("POST", "/v1/tenants/-/applications", {"displayName": "atlas", "grants": [MAPS]})[
            "application"
        ]
        name = made["name"]
        self.assertEqual((made["isVerified"], made["isRevoked"]), (False, False), "what is false is said")
        [mail] = self.mails(1)
        lines = mail.get_body().get_content().splitlines()
        [token] = [line for line in lines if len(line) >= 32 and not set(" /") & set(line)]
        secret = self.good("POST", f"/v1/{name}:verify", {"verificationToken": token}, key="")["secret"]
        self.assertEqual(
            [one["name"] for one in self.good("GET", "/v1/tenants/-/applications")["applications"]], [name]
        )
        asked = {"application": name, "secret": secret, "ttl": "600s"}
        token = self.good("POST", "/v1/tokens", asked, key="")["token"]
        told = self.good("POST", "/v1/tokens:introspect", {"token": token})
        self.assertEqual((told["active"], told["permissions"]), (True, [{"resource": "maps/*", "action": "view"}]))
        self.assertEqual(self.root.check(token, MAP), (True, []))
        of_it = self.good("POST", f"/v1/{name}/keys", {"grants": [MAPS]})["key"]
        self.assertEqual(of_it["owner"], name)
        self.good("POST", f"/v1/{name}:rotateSecret", {})
        self.bad(401, 16, "CREDENTIAL_REFUSED", "POST", "/v1/tokens", asked, key="")
        self.good("POST", f"/v1/{name}:revoke", {})
        self.assertEqual(self.good("POST", f"/v1/{name}:activate", {})["application"]["isRevoked"], False)
        self.assertEqual({one["kty"] for one in self.good("GET", "/v1/jwks", key="")["keys"]}, {"OKP"})

    def test_a_check_answers_200_with_its_decision(self):
        credential = self.good("POST", "/v1/tenants/-/keys", {"grants": [MAPS]})["credential"]
        asked = {"credential": credential, "permissions": [{"resource": "maps/roads", "action": "view"}]}
        allowed = self.good("POST", "/v1/check", asked)
        self.assertEqual((allowed["decision"], allowed["reasons"]), ("DECISION_ALLOWED", []))
        self.assertEqual(allowed["principal"]["tenant"], "tenants/acme")
        asked["permissions"][0]["action"] = "edit"
        denied = self.good("POST", "/v1/check", asked)
        self.assertEqual((denied["decision"], denied["reasons"]), ("DECISION_DENIED", ["REASON_NOT_GRANTED"]))
        batch = self.good("POST", "/v1/check:batch", {"checks": [asked, {}]})["results"]
        self.assertEqual([one["reasons"] for one in batch], [["REASON_NOT_GRANTED"], ["REASON_MISSING"]])
        self.bad(401, 16, "CREDENTIAL_REFUSED", "POST", "/v1/check", asked, key="")

    def test_credentials_pass_in_each_of_their_headers(self):
        self.good("GET", "/v1/tenants/-", key="", headers=[f"x-api-key: {self.key}"])
        self.good("GET", "/v1/tenants/-", key="", headers=[f"authorization: bearer {self.key}"])
        self.bad(401, 16, "CREDENTIAL_REFUSED", "GET", "/v1/tenants/-", headers=[f"x-api-key: {self.key}"])
        master = self.made["masterKey"]["name"]
        secret = self.good("POST", f"/v1/{master}:generateSecretKey", {})["secretKey"]
        self.bad(401, 16, "CREDENTIAL_REFUSED", "GET", "/v1/tenants/-")
        self.good("GET", "/v1/tenants/-", headers=[f"x-secret-key: {secret}"])

    def test_errors_are_json_with_their_details(self):
        self.bad(404, 5, "NOT_FOUND", "GET", "/v1/tenants/-/keys/nothing")
        [broken] = self.bad(400, 3, "INVALID_FIELD", "GET", "/v1/tenants/-/keys?pageSize=-1")
        self.assertEqual(broken["@type"], "type.googleapis.com/google.rpc.BadRequest")
        self.assertEqual([one["field"] for one in broken["fieldViolations"]], ["page_size"])
        self.good("POST", "/v1/tenants/-/users", {"userId": "bo", "user": {"email": "bo@acme.example"}})
        self.bad(
            409,
            6,
            "ALREADY_EXISTS",
            "POST",
            "/v1/tenants/-/users",
            {"userId": "bo", "user": {"email": "b@acme.example"}},
        )
        public = self.made["defaultPublicKey"]["name"]
        self.bad(400, 9, "STATE_FORBIDS", "POST", f"/v1/{public}:revoke", {})
        # What Envoy cannot read it refuses itself, in plain text.
        answer = self.ask("POST", "/v1/tenants/-/keys", "{")
        self.assertEqual(answer.status, 400, answer)

    def test_what_is_not_in_the_contract_is_not_found(self):
        for method, path in (
            ("GET", "/"),
            ("GET", "/v1/nothing"),
            ("PUT", "/v1/tenants/-/keys"),
            ("POST", "/keyward.v1.KeyService/ListKeys"),
            ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
        ):
            answer = self.ask(method, path, {} if method != "GET" else None)
            self.assertEqual(answer.status, 404, (method, path, answer))
        for path in ("/v1/tenants%2F-/keys", "/v1/tenants/-%5Ckeys"):
            self.assertIn(self.ask("GET", path).status, (400, 404), path)

    def test_unknown_query_parameters_are_ignored(self):
        self.good("GET", "/v1/tenants/-/keys?utm_source=mail&page_size=1")

    def test_without_keyward_the_answer_is_503(self):
        self.server.kill()
        self.assertEqual(self.ask("GET", "/v1/tenants/-/keys").status, 503)


class Compat(Rest):
    EXAMPLE = "rest-compat.yaml"

    def setUp(self):
        super().setUp()
        made = self.good("POST", "/v1/tenants/-/users", {"userId": "di71rg94", "user": {"email": "xyz@acme.example"}})
        self.user, self.bo = made["user"]["name"], made["masterCredential"]
        self.at = self.sidecar.url(8080)

    def id(self, made):
        return made["key"]["name"].rsplit("/", 1)[1]


class Cogniac(Compat):
    """https://support.cogniac.ai/docs/users-api-key-management"""

    def test_their_commands(self):
        bearer = ["-H", f"Authorization: Bearer {self.bo}"]
        keys = f"{self.at}/1/users/di71rg94/apiKeys"
        created = curl(
            *("-X", "POST", keys, *bearer, "-H", "Content-Type: application/json"),
            *("-d", '{\n  "description":"New Token for Image downloads"\n}'),
        )
        self.assertEqual(created.status, 200, created)
        self.assertEqual(created.body["key"]["description"], "New Token for Image downloads")
        self.assertEqual(created.body["key"]["owner"], self.user)
        self.assertEqual(self.root.check(created.body["credential"]), (True, []))
        key = self.id(created.body)

        one = curl("-X", "GET", f"{keys}/{key}", *bearer)
        self.assertEqual(one.status, 200, one)
        self.assertEqual(one.body["key"]["name"], created.body["key"]["name"])
        self.assertNotIn(created.body["credential"], one.text)
        listed = curl("-X", "GET", keys, *bearer)
        self.assertIn(one.body["key"], listed.body["keys"])

        gone = curl("-X", "DELETE", f"{keys}/{key}", *bearer)
        self.assertEqual((gone.status, gone.text), (204, ""), gone)
        self.assertEqual(self.root.check(created.body["credential"]), (False, ["DELETED"]))

    def test_the_comma_too_many_in_their_first_edition(self):
        data = '{\n  "description":"New Token for Image downloads",\n}'
        self.good("POST", "/1/users/di71rg94/apiKeys", data, key=self.bo)

    def test_refusals_are_ours(self):
        self.bad(401, 16, "CREDENTIAL_REFUSED", "GET", "/1/users/di71rg94/apiKeys", key="")
        self.bad(404, 5, "NOT_FOUND", "GET", "/1/users/nobody/apiKeys")
        self.bad(404, 5, "NOT_FOUND", "DELETE", "/1/users/di71rg94/apiKeys/nothing")
        self.bad(
            403,
            7,
            "NOT_GRANTED",
            "GET",
            f"/1/users/{self.made['owner']['name'].rsplit('/', 1)[1]}/apiKeys",
            key=self.bo,
        )

    def test_paths_that_are_not_theirs_are_not_mapped(self):
        for path in (
            "/1/users/di71rg94/apiKeys/",
            "/1/users//apiKeys",
            "/1/users/a/b/apiKeys",
            "/1/users/a:b/apiKeys",
            "/1/users",
        ):
            self.assertEqual(self.ask("GET", path).status, 404, path)
        self.assertEqual(self.ask("DELETE", "/1/users/di71rg94/apiKeys").status, 404)


class CartoVista(Compat):
    """ApiKeyApi in the documents of github.com/cartovista/cartovista-cloud-restapi-python-clients, and
    https://knowledge.cartovista.com/create-your-api-key for the headers."""

    def vista(self, method, path, data=None, headers=None):
        """A call as in their documents, with the key in the header `apiKey`."""
        more = [part for header in headers or [f"apiKey: {self.bo}"] for part in ("-H", header)]
        return curl(*more, f"{self.at}/acme/api/v2{path}", method=method, data=data)

    def create(self, **data):
        made = self.vista("POST", "/User/di71rg94/ApiKey", data)
        self.assertEqual(made.status, 200, made)
        return made.body

    def state(self, key):
        return self.good("GET", f"/v1/tenants/-/keys/{key}")["key"]

    def test_create_and_list(self):
        made = self.create(ipWhitelisting=["10.1.2.3"], notes="Example API")
        self.assertEqual((made["key"]["description"], made["key"]["allowedIps"]), ("Example API", ["10.1.2.3/32"]))
        self.assertEqual(made["key"]["owner"], self.user)
        context = {"sourceIp": "10.1.2.3"}
        self.assertEqual(self.root.check(made["credential"], context=context), (True, []))
        self.assertEqual(self.root.check(made["credential"]), (False, ["IP_NOT_ALLOWED"]))
        listed = self.vista("GET", "/User/di71rg94/ApiKey")
        self.assertIn(made["key"]["name"], [key["name"] for key in listed.body["keys"]])

    def test_the_key_as_a_query_parameter(self):
        listed = curl(f"{self.at}/acme/api/v2/User/di71rg94/ApiKey?apiKey={self.bo}&pageSize=1")
        self.assertEqual(len(listed.body["keys"]), 1, listed)

    def test_one_update_says_what_the_key_is_and_whether_it_works(self):
        made = self.create(ipWhitelisting=["10.1.2.3"], notes="Example API")
        key = self.id(made)
        off = {"accessKey": key, "enabled": False, "ipWhitelisted": [], "notes": ""}
        answer = self.vista("POST", "/ApiKey", off)
        self.assertEqual(answer.status, 200, answer)
        after = self.state(key)
        self.assertEqual((after["state"], after["description"], after["allowedIps"]), ("KEY_STATE_SUSPENDED", "", []))
        self.assertEqual(self.root.check(made["credential"]), (False, ["SUSPENDED"]))
        on = {
            "notes": 'a "quoted", {braced} \\ note',
            "ipWhitelisted": ["10.0.0.0/8"],
            "enabled": True,
            "accessKey": key,
        }
        answer = self.vista("POST", "/ApiKey", on)
        self.assertEqual(answer.status, 200, answer)
        after = self.state(key)
        self.assertEqual((after["state"], after["description"]), ("KEY_STATE_ACTIVE", on["notes"]))
        self.assertEqual(after["allowedIps"], ["10.0.0.0/8"])

    def test_an_update_that_fails_leaves_less_allowed_and_not_more(self):
        made = self.create(ipWhitelisting=["10.1.2.3"], notes="Example API")
        key = self.id(made)
        self.vista("POST", "/ApiKey", {"accessKey": key, "enabled": False, "ipWhitelisted": [], "notes": ""})
        broken = {"accessKey": key, "enabled": True, "ipWhitelisted": ["nowhere"], "notes": ""}
        answer = self.vista("POST", "/ApiKey", broken)
        self.assertEqual((answer.status, answer.body["code"]), (400, 3), answer)
        self.assertEqual(self.state(key)["state"], "KEY_STATE_SUSPENDED")
        self.vista("POST", "/ApiKey", {"accessKey": key, "enabled": True, "ipWhitelisted": [], "notes": "good"})
        self.vista("POST", "/ApiKey", {**broken, "enabled": False})
        self.assertEqual(self.state(key)["state"], "KEY_STATE_SUSPENDED")
        strange = [f"apiKey: {self.bo}x"]
        answer = self.vista("POST", "/ApiKey", {**broken, "ipWhitelisted": []}, headers=strange)
        self.assertEqual((answer.status, answer.body["code"]), (401, 16), answer)

    def test_bodies_that_are_not_theirs_are_refused(self):
        made = self.create(ipWhitelisting=[], notes="")
        key = self.id(made)
        before = self.state(key)
        for text in (
            "",
            "[]",
            "{",
            f'{{"accessKey":"{key}"}}',
            f'{{"accessKey":"{key}","enabled":"no","ipWhitelisted":[],"notes":""}}',
            f'{{"accessKey":"{key}","enabled":false,"enabled":true,"ipWhitelisted":[],"notes":""}}',
            f'{{"accessKey":"{key}","\\u0065nabled":false,"enabled":true,"ipWhitelisted":[],"notes":""}}',
            f'{{"accessKey":"{key}:revoke","enabled":true,"ipWhitelisted":[],"notes":""}}',
            '{"accessKey":"../users/bo","enabled":true,"ipWhitelisted":[],"notes":""}',
            f'{{"accessKey":"{key}","enabled":true,"ipWhitelisted":[],"notes":"","state":2}}',
            f'{{"accessKey":"{key}","enabled":true,"ipWhitelisted":[],"notes":""}} more',
        ):
            answer = self.vista("POST", "/ApiKey", text)
            self.assertEqual((answer.status, answer.body["code"]), (400, 3), (text, answer))
        for text in ('{"ipWhitelist":["10.1.2.3"]}', '{"notes":"a","notes":"b"}', '"notes"'):
            answer = self.vista("POST", "/User/di71rg94/ApiKey", text)
            self.assertEqual((answer.status, answer.body["code"]), (400, 3), (text, answer))
        self.assertEqual(self.state(key), before)

    def test_a_generated_secret_is_required_from_then_on(self):
        made = self.create(ipWhitelisting=[], notes="Example API")
        secret = self.vista("POST", f"/ApiKey/{self.id(made)}/generateSecret").body["secretKey"]
        self.assertEqual(self.root.check(made["credential"]), (False, ["SECRET_KEY_REQUIRED"]))
        self.assertEqual(self.root.check(made["credential"], secretKey=secret), (True, []))
        master = next(
            key for key in self.good("GET", f"/v1/{self.user}/keys")["keys"] if key["type"] == "KEY_TYPE_MASTER"
        )
        secret = self.vista("POST", f"/ApiKey/{self.id({'key': master})}/generateSecret").body["secretKey"]
        self.assertEqual(self.vista("GET", "/User/di71rg94/ApiKey").status, 401)
        both = [f"apiKey: {self.bo}", f"secretKey: {secret}"]
        self.assertEqual(self.vista("GET", "/User/di71rg94/ApiKey", headers=both).status, 200)

    def test_a_deleted_key_does_not_work(self):
        made = self.create(ipWhitelisting=[], notes="")
        gone = self.vista("DELETE", f"/ApiKey/{self.id(made)}")
        self.assertEqual((gone.status, gone.text), (204, ""), gone)
        self.assertEqual(self.root.check(made["credential"]), (False, ["DELETED"]))

    def test_two_credentials_are_refused_wherever_they_are(self):
        path = "/User/di71rg94/ApiKey"
        twice = [f"apiKey: {self.bo}"]
        self.assertEqual(self.vista("GET", f"{path}?apiKey={self.key}", headers=twice).status, 401)
        self.assertEqual(self.vista("GET", path, headers=[*twice, f"apiKey: {self.key}"]).status, 401)
        self.assertEqual(self.vista("GET", path, headers=[*twice, f"Authorization: Bearer {self.bo}"]).status, 401)
        self.assertEqual(self.vista("GET", path, headers=[*twice, f"x-api-key: {self.bo}"]).status, 401)


if __name__ == "__main__":
    unittest.main()
