"""Test the file of identities, tokens, patterns of models, and the command that edits the file."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from callers import PAST, CallerFile, Keys
from ganserve._commands import main
from ganserve_server.errors import StartupError, UnauthenticatedError
from ganserve_server.identity.authenticator import Authenticator
from ganserve_server.identity.certificates import identity_of
from ganserve_server.identity.identity import ModelPatterns
from ganserve_server.identity.settings_file import read_identities
from ganserve_server.identity.token_editor import add_token, remove_tokens
from ganserve_server.identity.tokens import digest

if TYPE_CHECKING:
    from pathlib import Path

    from authority import Authority


@pytest.fixture
def file(tmp_path: Path) -> CallerFile:
    return CallerFile(tmp_path / "identities.toml")


def header(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def test_a_token_proves_an_identity_until_it_is_removed(file: CallerFile) -> None:
    token, late = file.token("app", "sample"), file.token("late", "sample", expires=PAST)
    authenticator = Authenticator(file.file)
    identity = authenticator.identify(header(token), None)
    assert (identity.name, identity.roles) == ("app", {"sample"})
    assert authenticator.is_valid(identity, header(token), None)
    for wrong in (token[:-1], token + "x", token.upper(), late, "x"):
        with pytest.raises(UnauthenticatedError):
            authenticator.identify(header(wrong), None)
    assert authenticator.failures == {"unknown_token": 4, "expired": 1}
    file.remove("app")
    assert authenticator.look()
    assert not authenticator.look(), "nothing has changed since"
    assert not authenticator.is_valid(identity, header(token), None)
    with pytest.raises(UnauthenticatedError):
        authenticator.identify(header(token), None)


def test_fewer_rights_end_an_identity_and_more_do_not(file: CallerFile) -> None:
    shown = "x" * 43
    file.add("app", entry("app", '["sample"]', token=shown))
    authenticator = Authenticator(file.file)
    identity = authenticator.identify(header(shown), None)
    for roles, models, valid in (
        ('["sample", "score"]', '["*"]', True),
        ('["score"]', '["*"]', False),
        ('["sample"]', '["a"]', False),
    ):
        file.add("app", entry("app", roles, models, shown))
        authenticator.look()
        assert authenticator.is_valid(identity, header(shown), None) is valid
    assert not authenticator.failures, "nobody was refused"


def entry(name: str, roles: str, models: str = '["*"]', token: str = "x") -> str:
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest(token).hex()}"\nroles = {roles}\nmodels = {models}\n'


def test_a_certificate_is_valid_while_its_own_entry_is(file: CallerFile, authority: Authority) -> None:
    one, other = (authority.sign(name).certificate.read_bytes() for name in ("one", "other"))
    file.add("a", '[[certificates]]\nname = "worker"\nsubject = "CN=one"\nroles = ["sample"]\n')
    file.add("b", '[[certificates]]\nname = "worker"\nsubject = "CN=other"\nroles = ["score"]\n')
    authenticator = Authenticator(file.file)
    identities = [authenticator.identify((), certificate) for certificate in (one, other)]
    assert [authenticator.is_valid(who, (), by) for who, by in zip(identities, (one, other), strict=True)] == [True] * 2
    file.remove("b")
    authenticator.look()
    assert authenticator.is_valid(identities[0], (), one)
    assert not authenticator.is_valid(identities[1], (), other)


def test_a_wrong_file_keeps_the_identities(file: CallerFile, caplog: pytest.LogCaptureFixture) -> None:
    token = file.token("app", "sample")
    authenticator = Authenticator(file.file)
    file.file.write_text("[[tokens]]\nname = ")
    authenticator.look()
    assert "the identities in use stay: --identities" in caplog.text
    assert authenticator.identify(header(token), None)
    file.file.unlink()
    authenticator.look()
    assert authenticator.identify(header(token), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "is not TOML"),
        ("x = 1", "the file: x is unknown. There are: tokens"),
        ("tokens = 1", "the file: tokens is not a list of tables"),
        ("[[tokens]]", "entry 1 of tokens: name is missing"),
        ('[[tokens]]\nname = "a b"', "entry 1 of tokens: name is 'a b'"),
        ('[[tokens]]\nname = "a"\nsha256 = "gsv_secret"', "entry 1 of tokens: sha256 is not 64 hexadecimal digits"),
        (entry("a", '["root"]'), "entry 1 of tokens: roles has 'root'. There are: sample, score, admin, metrics"),
        (entry("a", "[]"), "entry 1 of tokens: roles is not a list of texts"),
        (entry("a", '"admin"'), "entry 1 of tokens: roles is not a list of texts"),
        (entry("a", '["sample"]', '"*"'), "entry 1 of tokens: models is not a list of texts"),
        (entry("a", '["sample"]', "[]"), "entry 1 of tokens: models is not a list of texts"),
        (entry("a", '["sample"]') + "expire = 1", "entry 1 of tokens: expire is unknown"),
        (entry("a", '["sample"]') + "expires = 2027-01-01", "expires is not a time with a zone"),
        (entry("a", '["sample"]') + "expires = 2027-01-01T00:00:00", "expires is not a time with a zone"),
        (entry("a", '["sample"]') + entry("b", '["sample"]'), "entry 2 of tokens: sha256 is that of another entry"),
        (
            2 * '[[issuers]]\nissuer = "https://a"\naudience = "b"\nkeys = "c"\n',
            "entry 2 of issuers: issuer 'https://a' is",
        ),
        ('[[certificates]]\nname = "a"\nroles = ["sample"]', "subject or dns or uri must be given"),
        ("[quotas.defualt]", "quotas: defualt is unknown. There are: default, roles, callers"),
        ("[quotas.default]\nrequests = 1", "quotas.default: requests is unknown"),
        ("[quotas.default]\nconcurrent_calls = 1.5", "concurrent_calls is not a number of at least 0"),
        ("[quotas.default]\nrequests_per_s = -1", "requests_per_s is not a number of at least 0"),
        ("[quotas.default]\nrequests_per_s = true", "requests_per_s is not a number of at least 0"),
        ("[quotas.default]\nrequests_per_s = nan", "requests_per_s is not a number of at least 0"),
        ("[quotas.roles.boss]", "quotas.roles: boss is unknown"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start(file: CallerFile, text: str, message: str) -> None:
    file.file.write_text(text)
    with pytest.raises(StartupError) as caught:
        read_identities(file.file)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("*", ["", "a", "a/b", "x\ny"], []),
        ("digits", ["digits"], ["digits2", "xdigits", "DIGITS", "digits\n", ""]),
        ("team-*", ["team-", "team-a", "team-a\nb"], ["team", "xteam-a"]),
        ("*-public", ["a-public", "-public"], ["a-publicx", "a-public\n"]),
        ("a*b*c", ["abc", "a--b--c"], ["ab", "acb"]),
        (".*", [".", ".a"], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("a|b", ["a|b"], ["a", "b"]),
        ("(a)", ["(a)"], ["a"]),
        ("[ab]", ["[ab]"], ["a"]),
        ("a?", ["a?"], ["a", "ab", ""]),
        ("^a$", ["^a$"], ["a"]),
        ("\\w+", ["\\w+"], ["w"]),
    ],
)
def test_patterns_mean_only_their_stars(pattern: str, allowed: list[str], refused: list[str]) -> None:
    patterns = ModelPatterns([pattern])
    assert [name for name in allowed if not patterns.allow(name)] == []
    assert [name for name in refused if patterns.allow(name)] == []
    assert not ModelPatterns(()).allow("")


def test_patterns_with_many_stars_are_quick() -> None:
    assert not ModelPatterns(["*" * 200 + "b"]).allow("a" * 255)
    assert not ModelPatterns(["a*"]).allow("a" * 10**6), "no folder has such a name"


@pytest.mark.parametrize(
    ("kind", "value"),
    [("subject", "CN=worker"), ("dns", "worker.example.org"), ("uri", "spiffe://example.org/worker")],
)
def test_a_certificate_shows_an_identity(file: CallerFile, authority: Authority, kind: str, value: str) -> None:
    file.certificate("worker", kind, value, "sample")
    rules = read_identities(file.file).certificates
    pair = authority.sign("worker", "worker.example.org", uri="spiffe://example.org/worker")
    identity = identity_of(pair.certificate.read_bytes(), rules)
    assert identity.name == "worker"
    assert not identity.expired
    for other in (authority.sign("CN=worker"), authority.sign("workers"), authority.sign("x", "xworker.example.org")):
        with pytest.raises(UnauthenticatedError):
            identity_of(other.certificate.read_bytes(), rules)
    nameless = authority.sign("", uri="spiffe://example.org/other", file="nameless")
    assert identity_of(nameless.certificate.read_bytes(), None).name == "certificate:spiffe://example.org/other"
    late = authority.sign("worker", "worker.example.org", uri="spiffe://example.org/worker", to_days=-0.5)
    with pytest.raises(UnauthenticatedError) as caught:
        Authenticator(file.file).identify((), late.certificate.read_bytes())
    assert caught.value.reason == "expired", "a connection may outlive its certificate"


def test_the_command_makes_lists_and_revokes(file: CallerFile, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(file.file)
    file.add("comment", "# mine\n[quotas.default]\nrequests_per_s = 5 # calls\n")
    flags = ["--identities", path]
    assert main(["token", "new", "app", "--role", "sample", "--role", "score", "--model", "team-*", *flags]) == 0
    token = capsys.readouterr().out.strip()
    assert token.startswith("gsv_")
    assert token not in file.file.read_text()
    assert main(["token", "new", "app", "--role", "sample", "--days", "30", *flags]) == 0
    assert main(["token", "new", "other", "--role", "admin", *flags]) == 0
    identity = Authenticator(file.file).identify(header(token), None)
    assert identity.roles == {"sample", "score"}
    assert identity.models.texts == ("team-*",)
    assert main(["token", "list", *flags]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[-3:]] == ["app", "app", "other"]
    assert main(["token", "revoke", "app", *flags]) == 0
    assert "removed 2 tokens of app" in capsys.readouterr().out
    assert [each.name for each in read_identities(file.file).tokens.values()] == ["other"]
    assert "# mine\n" in file.file.read_text()
    assert "requests_per_s = 5 # calls" in file.file.read_text()
    assert main(["token", "revoke", "app", *flags]) == 2
    assert file.file.with_suffix(".toml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new"], "NAME: missing"),
        (["new", "a"], "--role: missing. Say what the caller may do"),
        (["new", "a b", "--role", "sample"], "NAME 'a b': not a name"),
        (["new", "a", "--role", "root"], "--role root: not a choice. Give one of sample, score, admin, metrics."),
        (["new", "a", "--role", "sample", "--days", "0"], "--days 0: must be above 0"),
        (["list", "--identities", "/nowhere/x"], "--identities /nowhere/x: cannot be read"),
        (["make", "a"], "ACTION make: not a choice"),
    ],
)
def test_the_command_refuses(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["token", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    add_token(file, "app", ["sample"], ["*"], None)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    add_token(file, "app", ["sample"], ["*"], None)
    assert file.stat().st_mode & 0o777 == 0o640
    assert remove_tokens(file, "app") == 2
    assert [each.name for each in tmp_path.iterdir()] == ["new.toml"]


def test_tokens_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    threads = [
        threading.Thread(target=add_token, args=(file, f"app{number}", ["sample"], ["*"], None)) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_identities(file).tokens) == 16


def test_an_unusual_file_is_left_alone(file: CallerFile) -> None:
    file.file.write_text(f'tokens = [{{ name = "app", sha256 = "{"a" * 64}", roles = ["sample"] }}]\n')
    before = file.file.read_text()
    with pytest.raises(StartupError, match="Change the tokens by hand"):
        remove_tokens(file.file, "app")
    with pytest.raises(StartupError, match="Change the tokens by hand"):
        add_token(file.file, "app", ["sample"], ["*"], None)
    assert file.file.read_text() == before
    assert [each.name for each in file.file.parent.iterdir()] == [file.file.name]


def test_comments_stay_with_the_table_below_them(tmp_path: Path) -> None:
    file = tmp_path / "identities.toml"
    blocks = [f'# of {name}\n{entry(name, """["sample"]""", token=name)}' for name in ("one", "two")]
    file.write_text("# all\n\n" + "\n".join(blocks), encoding="utf-8-sig")
    assert remove_tokens(file, "one") == 1
    assert file.read_text() == "# all\n\n" + blocks[1]


def test_a_changed_file_keeps_its_owner_and_its_link(tmp_path: Path) -> None:
    file, link = tmp_path / "real.toml", tmp_path / "identities.toml"
    add_token(file, "app", ["sample"], ["*"], None)
    link.symlink_to(file)
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
    else:
        os.chown(file, -1, os.getgroups()[-1])
    file.chmod(0o640)
    before = file.stat()
    add_token(link, "other", ["sample"], ["*"], None)
    assert remove_tokens(link, "app") == 1
    assert link.is_symlink()
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_a_wrong_file_is_read_again_until_it_is_right(file: CallerFile, caplog: pytest.LogCaptureFixture) -> None:
    authenticator = Authenticator(file.file)
    keys = file.file.parent / "keys"
    file.add("issuer", f'[[issuers]]\nissuer = "https://a"\naudience = "b"\nkeys = "{keys}"\n')
    for _ in range(3):
        assert not authenticator.look()
    assert caplog.text.count("the identities in use stay") == 1
    Keys(keys.parent).file.rename(keys)
    assert authenticator.look()
    assert [issuer.issuer for issuer in authenticator.identities.issuers] == ["https://a"]


def test_a_file_that_is_being_written_locks_nobody_out(file: CallerFile) -> None:
    file.add("app", entry("app", '["sample"]', token="right"))
    authenticator = Authenticator(file.file)
    text = file.file.read_text()
    for part in ("", "# A comment, ", text[:50]):
        file.file.write_text(part)
        authenticator.look()
        authenticator.identify(header("right"), None)
    file.file.write_text(text)
    authenticator.look()
    authenticator.identify(header("right"), None)
    file.file.write_text("")
    assert not authenticator.look()
    assert authenticator.look(), "it stays empty"
    with pytest.raises(UnauthenticatedError):
        authenticator.identify(header("right"), None)


def test_quotas_of_nobody_are_logged(file: CallerFile, caplog: pytest.LogCaptureFixture) -> None:
    file.add("app", entry("app", '["sample"]') + "[quotas.callers.app]\n[quotas.callers.ap]\n")
    Authenticator(file.file)
    assert caplog.messages == [f"--identities {file.file}: quotas.callers: no token or certificate has the name 'ap'"]


def test_files_that_everybody_can_change_are_logged(file: CallerFile, caplog: pytest.LogCaptureFixture) -> None:
    file.file.chmod(0o644)
    Authenticator(file.file)
    assert not caplog.text
    file.file.chmod(0o666)
    Authenticator(file.file)
    assert f"--identities {file.file}: every user of this machine can change it" in caplog.text
