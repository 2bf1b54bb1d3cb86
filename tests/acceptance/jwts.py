"""JWTs as a service verifies them that knows nothing of us: PyJWT, with the key set fetched by HTTP (RFC 9068, 7517).

Whatever PyJWT refuses, Check refuses too; what is revoked, Check alone knows.
"""

import base64
import json
import unittest
import urllib.request

import jwt
from jwt.algorithms import OKPAlgorithm
from stranger import Stranger

REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti"]


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Jwts(Stranger):
    def setUp(self):
        super().setUp()
        grants = [{"resources": {"resource": "doc/**", "actions": ["read", "write"]}}]
        made = self.owner.call(
            "KeyService/CreateKey", {"parent": "tenants/-", "keyId": "ci", "key": {"grants": grants}}
        )
        self.key, self.credential = made["key"]["name"], made["credential"]

    def token(self, **more):
        request = {"key": self.credential, "format": "TOKEN_FORMAT_JWT", **more}
        return self.owner.call("TokenService/CreateToken", request, metadata=[])

    def jwks(self):
        with urllib.request.urlopen(f"http://{self.server.ops}/.well-known/jwks.json") as answer:
            self.assertEqual(answer.headers["content-type"], "application/jwk-set+json")
            self.assertIn("max-age=", answer.headers["cache-control"])
            return json.load(answer)

    def verified(self, text, audience="tenants/acme"):
        """What a service does with a token that it is shown."""
        kid = jwt.get_unverified_header(text)["kid"]
        key = next(key for key in jwt.PyJWKSet.from_dict(self.jwks()).keys if key.key_id == kid)
        return jwt.decode(
            text,
            key,
            algorithms=["EdDSA"],
            audience=audience,
            issuer=f"http://{self.server.ops}",
            options={"require": REQUIRED},
        )

    def test_the_key_set_is_the_same_by_http_and_by_grpc(self):
        self.assertEqual(self.jwks(), self.root.call("TokenService/GetJwks", {}, metadata=[]))
        (key,) = self.jwks()["keys"]
        self.assertEqual((key["kty"], key["crv"], key["alg"], key["use"]), ("OKP", "Ed25519", "EdDSA", "sig"))
        self.assertNotIn("d", key)

    def test_a_token_is_what_the_standard_says_and_check_allows_it(self):
        made = self.token()
        header = jwt.get_unverified_header(made["token"])
        self.assertEqual((header["typ"], header["alg"]), ("at+jwt", "EdDSA"))
        claims = self.verified(made["token"])
        self.assertEqual((claims["sub"], claims["client_id"]), (self.key, self.key))
        self.assertEqual(claims["aud"], ["tenants/acme"])
        self.assertEqual(claims["exp"] - claims["iat"], 3600)
        self.assertEqual(sorted(claims["scope"].split()), ["read:doc/**", "write:doc/**"])
        self.assertNotEqual(claims["jti"], self.verified(self.token()["token"])["jti"])
        self.assertEqual(self.owner.check(made["token"], ("doc/1", "read")), (True, []))
        self.assertEqual(self.owner.check(made["token"], ("other", "read")), (False, ["NOT_GRANTED"]))

    def test_a_narrower_token_for_an_audience_holds_no_more(self):
        asked = [{"resource": "doc/1", "action": "read"}]
        made = self.token(permissions=asked, audience=["https://files.example"], ttl="60s")
        claims = self.verified(made["token"], "https://files.example")
        self.assertEqual((claims["scope"], claims["exp"] - claims["iat"]), ("read:doc/1", 60))
        with self.assertRaises(jwt.InvalidAudienceError):
            self.verified(made["token"])
        self.assertEqual(self.owner.check(made["token"]), (False, ["TOKEN_AUDIENCE_MISMATCH"]))
        wider = [{"resource": "**", "action": "*"}]
        self.refused("PERMISSION_DENIED", self.token, permissions=wider)

    def test_an_altered_token_is_refused_by_both(self):
        text = self.token()["token"]
        header, claims, signature = text.split(".")
        said = jwt.decode(text, options={"verify_signature": False})
        kid = jwt.get_unverified_header(text)["kid"]
        (published,) = self.jwks()["keys"]
        secret = base64.urlsafe_b64decode(published["x"] + "=")
        other = jwt.encode(said, self.stranger(), algorithm="EdDSA", headers={"kid": kid, "typ": "at+jwt"})
        confused = jwt.encode(said, secret, algorithm="HS256", headers={"kid": kid, "typ": "at+jwt"})
        flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
        altered = {
            "edited claims": f"{header}.{encoded({**said, 'sub': 'tenants/acme/keys/other'})}.{signature}",
            "a longer life": f"{header}.{encoded({**said, 'exp': said['exp'] + 3600})}.{signature}",
            "another signature": f"{header}.{claims}.{flipped}",
            "no signature": f"{encoded({'alg': 'none', 'typ': 'at+jwt', 'kid': kid})}.{claims}.",
            "another key": other,
            "our public key as a secret": confused,
        }
        for what, bad in altered.items():
            with self.subTest(what):
                with self.assertRaises(jwt.InvalidTokenError):
                    self.verified(bad)
                self.assertEqual(self.owner.check(bad), (False, ["TOKEN_SIGNATURE_INVALID"]))
        self.assertEqual(self.owner.check(text), (True, []))

    def stranger(self):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.generate()

    def test_check_knows_at_once_what_a_verifier_cannot(self):
        first, second = self.token()["token"], self.token()["token"]
        self.owner.call("TokenService/RevokeToken", {"token": first})
        self.assertEqual(self.owner.check(first), (False, ["REVOKED"]))
        self.assertEqual(self.owner.check(second), (True, []))
        self.owner.call("KeyService/SuspendKey", {"name": self.key})
        self.assertEqual(self.owner.check(second), (False, ["SUSPENDED"]))
        self.owner.call("KeyService/ActivateKey", {"name": self.key})
        self.assertEqual(self.owner.check(second), (True, []))
        self.owner.call("KeyService/RevokeKey", {"name": self.key})
        self.assertFalse(self.owner.check(second)[0])
        self.verified(second)

    def test_tokens_and_keys_survive_a_restart(self):
        text, before = self.token()["token"], self.jwks()
        kid = jwt.get_unverified_header(text)["kid"]
        self.assertEqual(self.server.terminate(), 0)
        self.server.start()
        self.assertEqual(self.jwks(), before)
        self.assertEqual(self.owner.check(text), (True, []))
        self.assertEqual(jwt.get_unverified_header(self.token()["token"])["kid"], kid)
        self.assertEqual(len(OKPAlgorithm.from_jwk(before["keys"][0]).public_bytes_raw()), 32)


if __name__ == "__main__":
    unittest.main()
