"""Test which JWTs prove an identity, and attacks on their verification."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.warnings import InsecureKeyLengthWarning

from callers import AUDIENCE, ISSUER, CallerFile, Keys
from ganserve_server.errors import StartupError, UnauthenticatedError
from ganserve_server.identity import jwts
from ganserve_server.identity.authenticator import Authenticator
from ganserve_server.identity.tokens import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> CallerFile:
    return CallerFile(tmp_path / "identities.toml")


@pytest.fixture
def authenticator(keys: Keys, file: CallerFile) -> Authenticator:
    file.issuer(keys.file.name)
    return Authenticator(file.file)


def refused(authenticator: Authenticator, *values: Any) -> str:
    """Return why the server refuses authorization headers."""
    with pytest.raises(UnauthenticatedError) as caught:
        authenticator.identify([("authorization", value) for value in values], None)
    assert not any(len(str(value)) > 20 and str(value) in str(caught.value) for value in values), "it shows the secret"
    return caught.value.reason


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_a_jwt_proves_an_identity(authenticator: Authenticator, keys: Keys, kid: str) -> None:
    token = keys.token(["sample", "unknown-role"], header={"kid": kid})
    identity = authenticator.identify([("authorization", f"bearer {token}")], None)
    assert identity.name == f"jwt:somebody of {ISSUER}"
    assert identity.roles == {"sample"}
    assert authenticator.identify([("authorization", f"Bearer {token}")], None) is identity, "it is remembered"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other"}, "other_audience"),
        ({"aud": None}, "bad_jwt"),
        ({"aud": ["other", AUDIENCE + "2"]}, "other_audience"),
        ({"iss": "https://evil.example.org/"}, "unknown_issuer"),
        ({"iss": None}, "unknown_issuer"),
        ({"iss": [ISSUER]}, "unknown_issuer"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "bad_jwt"),
        ({"exp": "soon"}, "bad_jwt"),
        ({"exp": 1e400}, "bad_jwt"),
        ({"exp": 10**400}, "bad_jwt"),
        ({"nbf": 4_000_000_000}, "bad_jwt"),
        ({"iat": 4_000_000_000}, "bad_jwt"),
        ({"sub": None}, "bad_jwt"),
        ({"sub": "new\nline"}, "bad_jwt"),
        ({"sub": "x" * 129}, "bad_jwt"),
        ({"sub": ""}, "bad_jwt"),
    ],
)
def test_claims_must_be_right(authenticator: Authenticator, keys: Keys, claims: dict[str, Any], reason: str) -> None:
    assert refused(authenticator, f"Bearer {keys.token(**claims)}") == reason


@pytest.mark.parametrize("part", [0, 1])
def test_deeply_nested_parts_are_refused(authenticator: Authenticator, keys: Keys, part: int) -> None:
    parts = keys.token(header={"kid": "rsa"}).split(".")
    nested = base64.urlsafe_b64decode(parts[part] + "==").rstrip(b"}") + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}"
    parts[part] = base64.urlsafe_b64encode(nested).rstrip(b"=").decode()
    assert len(".".join(parts)) < MOST_BYTES - len("Bearer ")
    assert refused(authenticator, f"Bearer {'.'.join(parts)}") in ("malformed", "unknown_issuer")


def test_no_algorithm_is_taken_from_the_token(authenticator: Authenticator, keys: Keys) -> None:
    head, payload, _ = keys.token().split(".")
    for algorithm in ("none", "None", "NONE", ""):
        assert refused(authenticator, f"Bearer {encoded({'alg': algorithm, 'kid': 'rsa'})}.{payload}.") == "bad_jwt"
    # The public key is known to everybody; as the secret of an HMAC it must prove nothing.
    for name in ("HS256", "HS384", "HS512"):
        signed = f"{encoded({'alg': name, 'kid': 'rsa', 'typ': 'JWT'})}.{payload}"
        for secret in (keys.public_pem, keys.public_pem.strip(), keys.file.read_bytes()):
            mac = hmac.new(secret, signed.encode(), getattr(hashlib, f"sha{name[2:]}")).digest()
            token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
            assert refused(authenticator, f"Bearer {token}") == "bad_jwt"
    other = jwt.encode({"iss": ISSUER}, rsa.generate_private_key(65537, 2048), "RS256", {"kid": "rsa"})
    assert refused(authenticator, f"Bearer {other}") == "bad_jwt"
    assert refused(authenticator, f"Bearer {head}.{payload}.AAAA") == "bad_jwt"


@pytest.mark.parametrize("kid", ["../../etc/passwd", "rsa/../rsa", "", "x' OR 1=1 --", "http://127.0.0.1:1/", "RSA"])
def test_the_name_of_a_key_is_only_looked_up(authenticator: Authenticator, keys: Keys, kid: str) -> None:
    assert refused(authenticator, f"Bearer {keys.token(header={'kid': kid})}") == "unknown_key"


def test_keys_without_names_or_with_the_same_one_all_count(file: CallerFile, keys: Keys) -> None:
    """As while an issuer changes its key."""
    old, other = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    entry = jwt.algorithms.RSAAlgorithm.to_jwk(old.public_key(), as_dict=True)
    for name in (None, "same"):
        named = {} if name is None else {"kid": name}
        kept = [{key: value for key, value in each.items() if key != "kid"} for each in keys.entries()]
        keys.write([{**each, **named} for each in (entry, *kept)])
        file.issuer(keys.file.name)
        authenticator = Authenticator(file.file)
        payload = jwt.decode(keys.token(), options={"verify_signature": False})
        tokens = [jwt.encode(payload, key, "RS256", headers=named) for key in (old, keys.rsa)]
        tokens.append(jwt.encode(payload, keys.ec, "ES256", headers=named))
        for token in tokens:
            assert authenticator.identify([("authorization", f"Bearer {token}")], None)
        wrong = jwt.encode(payload, other, "RS256", headers=named)
        assert refused(authenticator, f"Bearer {wrong}") == "bad_jwt"
        assert refused(authenticator, f"Bearer {jwt.encode(payload, 'x' * 40, 'HS256', headers=named)}") == "bad_jwt"


def test_keys_inside_a_token_mean_nothing(authenticator: Authenticator, keys: Keys) -> None:
    mine = rsa.generate_private_key(65537, 2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "me", "exp": int(time.time()) + 60, "roles": ["admin"]}
    for header in ({"kid": "rsa", "jwk": jwk}, {"kid": "rsa", "jku": "http://127.0.0.1:9/"}, {"kid": "rsa", "x5c": []}):
        assert refused(authenticator, f"Bearer {jwt.encode(claims, mine, 'RS256', header)}") == "bad_jwt"
    assert refused(authenticator, f"Bearer {keys.token(header={'crit': ['x'], 'x': 1})}") in (
        "unsupported",
        "malformed",
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  x",
        "Bearer x y",
        "Bearer x\n",
        "Bearer x\x00",
        "Bearer é",
        "Bearer\tx",
        b"Bearer x",
        "Basic YTpi",
        "Bearer " + "x" * MOST_BYTES,
    ],
)
def test_headers_of_another_form_are_refused(authenticator: Authenticator, value: Any) -> None:
    assert refused(authenticator, value) == "malformed"


@pytest.mark.parametrize(
    "token", ["...", "a.b.c", ".." * 3, "x" * 8000, f"{'e30' * 1000}.{'W' * 4000}.x", "e30.e30.e30"]
)
def test_nonsense_is_refused(authenticator: Authenticator, token: str) -> None:
    assert refused(authenticator, f"Bearer {token}") in ("unknown_token", "unknown_issuer")


def test_deep_claims_are_refused(authenticator: Authenticator) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 4500).rstrip(b"=").decode()
    assert refused(authenticator, f"Bearer e30.{deep}.x") == "unknown_issuer"


def test_two_headers_are_refused(authenticator: Authenticator, keys: Keys, file: CallerFile) -> None:
    token = file.token("app", "sample")
    authenticator.look()
    assert authenticator.identify([("authorization", f"Bearer {token}")], None).name == "app"
    assert refused(authenticator, f"Bearer {token}", f"Bearer {token}") == "malformed"
    assert refused(authenticator, "Bearer x", f"Bearer {keys.token()}") == "malformed"


def test_keys_follow_their_file(authenticator: Authenticator, keys: Keys) -> None:
    token = keys.token()
    assert authenticator.identify([("authorization", f"Bearer {token}")], None)
    keys.write(keys.entries()[1:])
    assert authenticator.look()
    assert refused(authenticator, f"Bearer {token}") == "unknown_key"
    keys.file.write_text("{")
    authenticator.look()
    assert authenticator.identify([("authorization", f"Bearer {keys.token(header={'kid': 'ec'})}")], None)


def test_a_jwt_is_valid_while_its_key_and_its_roles_are(
    authenticator: Authenticator, keys: Keys, file: CallerFile
) -> None:
    header = [("authorization", f"Bearer {keys.token(['sample'])}")]
    identity = authenticator.identify(header, None)
    keys.write([*reversed(keys.entries())])
    authenticator.look()
    assert authenticator.is_valid(identity, header, None), "its key is still there"
    for more in ('roles = { painters = ["sample"] }', 'models = ["other"]', 'roles_claim = "groups"'):
        file.issuer(keys.file.name, more)
        authenticator.look()
        assert not authenticator.is_valid(identity, header, None), more
    file.issuer(keys.file.name)
    authenticator.look()
    assert authenticator.is_valid(identity, header, None)
    keys.write(keys.entries()[1:])
    authenticator.look()
    assert not authenticator.is_valid(identity, header, None), "its key is gone"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"}],
        [{"kty": "RSA", "kid": "rsa"}],
        [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": ["rsa"]}],
        [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}],
    ],
)
def test_keys_that_prove_nothing_are_refused_at_the_start(
    keys: Keys, file: CallerFile, entries: list[dict[str, Any]]
) -> None:
    keys.write(entries)
    file.issuer(keys.file.name)
    with pytest.raises(StartupError, match=r"the keys of issuer .*jwks.json: cannot be read"):
        Authenticator(file.file)


def test_short_keys_prove_nothing(keys: Keys, file: CallerFile) -> None:
    keys.rsa = rsa.generate_private_key(65537, 1024)
    keys.write()
    file.issuer(keys.file.name)
    authenticator = Authenticator(file.file)
    with pytest.warns(InsecureKeyLengthWarning):
        token = keys.token()
    assert refused(authenticator, f"Bearer {token}") == "unknown_key"
    keys.write(keys.entries()[:1])
    with pytest.raises(StartupError, match=r"has no public key for signatures .RSA of at least 2048 bits"):
        Authenticator(file.file)


def test_claims_can_have_other_names_and_roles(keys: Keys, file: CallerFile) -> None:
    more = 'roles_claim = "realm_access.roles"\nroles = { painters = ["sample", "score"] }\nmodels_claim = "models"'
    file.issuer(keys.file.name, more)
    token = keys.token(realm_access={"roles": ["painters", "admin"]}, models="team-* digits")
    identity = Authenticator(file.file).identify([("authorization", f"Bearer {token}")], None)
    assert identity.roles == {"sample", "score"}
    assert identity.models.allow("team-a")
    assert not identity.models.allow("other")
    token = keys.token(realm_access="painters")
    identity = Authenticator(file.file).identify([("authorization", f"Bearer {token}")], None)
    assert not identity.roles
    assert not identity.models.allow("digits"), "without the claim, no model"


@pytest.fixture
def key_server(keys: Keys) -> Iterator[tuple[str, list[str]]]:
    """Serve the keys by HTTP; yield the address, and the paths that were asked for."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/keys")
                self.end_headers()
                return
            body = keys.file.read_bytes()
            if self.path == "/slow":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while self.wfile.write(b" ") and not over.wait(0.05):
                        pass
                return
            if self.path == "/nonsense":
                self.wfile.write(b"\0" * 100)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        over.set()
        server.shutdown()


def test_keys_come_from_an_address(
    keys: Keys, file: CallerFile, key_server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = key_server
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file.issuer(f"{address}/keys")
    authenticator = Authenticator(file.file)
    assert authenticator.identify([("authorization", f"Bearer {keys.token()}")], None)
    for _ in range(50):  # names of keys that do not exist must not become a flood of requests to the issuer
        refused(authenticator, f"Bearer {keys.token(header={'kid': 'new'})}")
        authenticator.fetch_keys()
    assert asked == ["/keys"]
    now += 11
    authenticator.fetch_keys()
    assert asked == ["/keys"] * 2, "a new key's name was seen"


def test_an_address_that_does_not_answer_refuses_its_tokens(
    keys: Keys,
    file: CallerFile,
    key_server: tuple[str, list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, asked = key_server
    monkeypatch.setattr(jwts, "_FETCH_TIMEOUT_S", 0.5)
    for path in (f"{address}/moved", f"{address}/slow", f"{address}/nonsense", "http://127.0.0.1:9/keys"):
        caplog.clear()
        file.issuer(path)
        authenticator = Authenticator(file.file)
        assert refused(authenticator, f"Bearer {keys.token()}") == "unknown_key"
        assert "cannot be read" in caplog.text
    assert asked == ["/moved", "/slow", "/nonsense"], "redirects are not followed"


@pytest.mark.parametrize("keys_at", ["http://id.example.org/keys", "ftp://127.0.0.1/keys", "file:///etc/passwd"])
def test_keys_must_come_encrypted(file: CallerFile, keys_at: str) -> None:
    file.issuer(keys_at)
    with pytest.raises(StartupError, match=r"entry 1 of issuers: keys is .*: use https://, or a file"):
        Authenticator(file.file)
