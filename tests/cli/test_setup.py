"""From nothing to a server that can start; and what the configuration it writes says."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mailstead.cli.template import config_text
from mailstead.server.config import Config, Smarthost, Tls, load

ALICE = "alice@example.org"
GENERATED = ("setup", ALICE, "--generate-password")
RELAYED = (*GENERATED, "--smarthost", "smtp.example.net")
LOGIN = ("--smarthost-user", "me", "--smarthost-password-file", "/nonexistent")


def test_what_is_set_up(fresh: Any) -> None:
    ran = fresh.setup(ALICE, "--hostname", "mx.example.org", "--json")
    assert ran.code == 0
    done = ran.json()
    assert (
        done["account"],
        done["domain"],
        done["hostname"],
    ) == (ALICE, "example.org", "mx.example.org")
    assert "password" not in done
    config = load(fresh.config)
    assert config.hostname == "mx.example.org"
    assert config.sqlite_path == fresh.folder / "data" / "mail.db"
    assert [one["login"] for one in fresh("account", "list", "--json").json()] == [ALICE]
    assert fresh("check", "config").code == 0


def test_the_records_to_publish(fresh: Any) -> None:
    found = {
        (r["name"], r["type"]): r["value"] for r in fresh.setup(ALICE, "--json").json()["records"]
    }
    assert found["example.org.", "MX"] == "10 mail.example.org."
    assert found["example.org.", "TXT"] == '"v=spf1 mx ~all"'
    dmarc = '"v=DMARC1; p=none; rua=mailto:postmaster@example.org"'
    assert found["_dmarc.example.org.", "TXT"] == dmarc
    assert found["_imaps._tcp.example.org.", "SRV"] == "0 1 993 mail.example.org."
    assert found["_submissions._tcp.example.org.", "SRV"] == "0 1 465 mail.example.org."
    assert any(name == "mail.example.org." for name, _ in found)
    (dkim,) = [value for (name, _), value in found.items() if "._domainkey.example.org." in name]
    first, second = dkim.removeprefix('"').removesuffix('"').split('" "')
    assert len(first) == 255  # a string of a TXT record is no longer (RFC 1035 section 3.3)
    assert re.fullmatch("v=DKIM1; k=rsa; p=[A-Za-z0-9+/]{392}", first + second)


def test_a_configuration_is_never_overwritten(mailstead: Any) -> None:
    before = mailstead.config.read_text()
    ran = mailstead.setup("bob@example.net")
    assert ran.code == 1
    assert "is there already and was not touched" in ran.err
    assert "domain add" in ran.err
    assert mailstead.config.read_text() == before


def test_again_with_the_old_database_keeps_the_account(mailstead: Any) -> None:
    mailstead.config.unlink()
    database = str(mailstead.folder / "data/mail.db")
    ran = mailstead("setup", ALICE, "--generate-password", "--no-probe", "--database", database)
    assert ran.code == 0
    assert "its password is unchanged" in ran.out
    assert "shown only now" not in ran.out


def test_a_password_made_up_is_shown_once(fresh: Any) -> None:
    database = str(fresh.folder / "d/mail.db")
    ran = fresh("setup", ALICE, "--generate-password", "--no-probe", "--database", database)
    assert re.search(r"Password {7}[\w-]{20} \(shown only now\)", ran.out)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("setup",), 2, "Missing argument 'ADDRESS'"),
        (("setup", "alice"), 2, "has no @"),
        (("setup", ALICE), 2, "--password-stdin"),
        (("setup", ALICE, "--password-file", "/nonexistent"), 1, "No such file"),
        (("setup", ALICE, "--hostname", "a b", "--generate-password"), 2, "is no domain name"),
        (("setup", ALICE, "--generate-password", "--password-stdin"), 2, "give one of the options"),
        ((*GENERATED, "--smarthost-user", "me"), 2, "give --smarthost HOST"),
        ((*GENERATED, "--smarthost", "a b"), 2, "is no domain name"),
        ((*GENERATED, "--smarthost", "a.example:0"), 2, "is not host:port"),
        ((*RELAYED, "--smarthost-user", "me"), 2, "give --smarthost-password-file"),
        ((*RELAYED, "--smarthost-password-file", "/nonexistent"), 2, "give --smarthost-user"),
        (RELAYED + LOGIN, 1, "No such file"),
        ((*GENERATED, "--smarthost", "smtps://a.example"), 2, "neither submission://"),
    ],
)
def test_refusals(fresh: Any, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = fresh(*arguments, "--no-probe", "--database", str(fresh.folder / "data/mail.db"))
    assert code == ran.code
    assert says in " ".join(ran.err.split())
    assert not fresh.config.exists()


def test_a_short_password_sets_nothing_up(fresh: Any) -> None:
    ran = fresh(
        "setup",
        ALICE,
        "--password-stdin",
        "--database",
        str(fresh.folder / "d/m.db"),
        stdin="short\n",
    )
    assert ran.code == 1
    assert "too short" in ran.err
    assert list(fresh.folder.iterdir()) == []


# ---------------------------------------------------------------------- the file


def test_the_file_as_written_is_the_defaults(tmp_path: Path) -> None:
    config = Config(hostname="mx.example.org", database='sqlite:///a "b"\\c/mail.db')
    path = tmp_path / "mailstead.toml"
    path.write_text(config_text(config))
    assert config == load(path)


def test_the_file_with_a_smarthost(tmp_path: Path) -> None:
    smarthost = Smarthost("smtp.example.net:465", "me", '/a "b"/word')
    tls = Tls(ca_file="/ca.pem")
    config = Config(hostname="mx.example.org", smarthost=smarthost, tls=tls)
    path = tmp_path / "mailstead.toml"
    path.write_text(config_text(config))
    assert config == load(path)


def test_the_file_shows_every_setting_at_its_default(tmp_path: Path) -> None:
    config = Config(hostname="mx.example.org")
    text = re.sub(r"^#(?=[a-z\[])", "", config_text(config), flags=re.M)
    shown = tomllib.loads(text)
    assert set(Config.__struct_fields__) | {"smarthost"} == set(shown) | {"routes"}
    for table in ("listen", "tls", "limits", "dns", "s3", "smarthost"):
        kind = Smarthost if table == "smarthost" else type(getattr(config, table))
        assert set(kind.__struct_fields__) - {"acme"} == set(shown[table])
    assert "#   acme = {" in text  # an example: there is no default to show
    path = tmp_path / "mailstead.toml"
    path.write_text(
        re.sub(r'^"example\.net" = .*$', "", text.partition("[smarthost]")[0], flags=re.M)
    )
    assert config == load(path)


def test_every_setting_is_explained() -> None:
    lines = config_text(Config(hostname="mx.example.org")).splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            assert above.startswith(("# ", "[tls]", "#certificates")), line
