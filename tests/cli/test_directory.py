"""Domains, accounts and aliases from the command line."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from mailstead.model.world import Endpoint
from mailstead.protocol.sasl import Credentials
from mailstead.server.config import load
from mailstead.server.wiring import open_house
from mailstead.services.accounts import LoginRefused
from mailstead.storage.store import Tx

PASSWORD = "correct horse"
ALICE = "alice@example.org"
BOB = "bob@example.org"


def logs_in(mailstead: Any, login: str, password: str) -> bool:
    async def work() -> bool:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            credentials = Credentials("", login, password, "PLAIN")
            found = await house.accounts.log_in(credentials, "imap", Endpoint("192.0.2.1", 40000))
            return not isinstance(found, LoginRefused)

    return asyncio.run(work())


def rows_left(mailstead: Any) -> dict[str, int]:
    """How many rows each table has that belongs to some account."""
    tables = ("account", "mailbox", "placement", "email", "content", "blob", "subscription")
    tables += ("keyword", "expunged", "email_gone", "mailbox_gone", "address")

    def count(tx: Tx) -> dict[str, int]:
        return {table: tx.value(f"SELECT count(*) FROM {table}") for table in tables}

    async def work() -> dict[str, int]:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            return await house.store.read(count)

    return asyncio.run(work())


def add(mailstead: Any, address: str, *more: str) -> Any:
    return mailstead("account", "add", address, "--password-stdin", *more, stdin=PASSWORD)


# ---------------------------------------------------------------------- domains


def test_a_domain_comes_and_goes(mailstead: Any) -> None:
    ran = mailstead("domain", "add", "EXAMPLE.net")
    assert (ran.code, "MX  10 mail.example.org." in ran.out) == (0, True)
    names = [one["name"] for one in mailstead("domain", "list", "--json").json()]
    assert names == ["example.net", "example.org"]
    assert mailstead("domain", "delete", "example.net").code == 0
    names = [one["name"] for one in mailstead("domain", "list", "--json").json()]
    assert names == ["example.org"]


def test_the_key_of_a_domain(mailstead: Any) -> None:
    added = mailstead("domain", "add", "example.net", "--json").json()
    (record,) = [one for one in added["records"] if "._domainkey." in one["name"]]
    (listed, _) = mailstead("domain", "list", "--json").json()
    selector = listed["dkim"]
    assert record["name"] == f"{selector}._domainkey.example.net."
    shown = mailstead("domain", "dkim", "example.net", "--json").json()
    assert [one["value"] for one in shown["records"]] == [record["value"]]
    assert [(key["selector"], key["active"]) for key in shown["keys"]] == [(selector, True)]
    assert mailstead("domain", "delete", "example.net").code == 0


def test_a_key_is_replaced(mailstead: Any) -> None:
    (old,) = mailstead("domain", "dkim", "example.org", "--json").json()["keys"]
    ran = mailstead("domain", "dkim", "example.org", "--new")
    new = f"{old['selector']}b"
    assert f"mailstead domain dkim example.org --use {new}" in ran.out
    assert f"{new}._domainkey.example.org.  TXT" in ran.out
    assert mailstead("domain", "list", "--json").json()[0]["dkim"] == old["selector"]
    ran = mailstead("domain", "dkim", "example.org", "--use", new, "--force")
    assert f"signs its mail with the key {new}" in ran.out
    assert "for a week" in ran.out
    assert mailstead("domain", "list", "--json").json()[0]["dkim"] == new
    again = mailstead("domain", "dkim", "example.org", "--json")
    assert [key["active"] for key in again.json()["keys"]] == [True, False]
    assert "PRIVATE" not in again.out


def test_a_key_that_nobody_could_find_is_not_used(mailstead: Any) -> None:
    text = mailstead.config.read_text()  # nobody answers there:
    mailstead.config.write_text(text.replace("#servers = []", 'servers = ["127.0.0.1:1"]'))
    mailstead("domain", "dkim", "example.org", "--new")
    (new, old) = mailstead("domain", "dkim", "example.org", "--json").json()["keys"]
    ran = mailstead("domain", "dkim", "example.org", "--use", new["selector"])
    assert (ran.code, "--force" in ran.err) == (1, True)
    assert mailstead("domain", "list", "--json").json()[0]["dkim"] == old["selector"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("example.com",), 1, "mailstead domain add example.com"),
        (
            ("example.org", "--use", "m1"),
            1,
            "there is no key m1: mailstead domain dkim example.org",
        ),
        (("example.org", "--new", "--use", "m1"), 2, "first --new"),
    ],
)
def test_keys_that_there_are_not(
    mailstead: Any, arguments: tuple[str, ...], code: int, says: str
) -> None:
    ran = mailstead("domain", "dkim", *arguments)
    assert code == ran.code
    assert says in ran.err


def test_a_domain_of_before_gets_a_key(mailstead: Any) -> None:
    async def forget_keys() -> None:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            await house.store.write(lambda tx: tx.run("DELETE FROM dkim_key"))

    asyncio.run(forget_keys())
    assert mailstead("domain", "list", "--json").json()[0]["dkim"] is None
    assert "signs its mail with the key m" in mailstead("domain", "dkim", "example.org").out
    assert mailstead("domain", "list", "--json").json()[0]["dkim"] is not None


def test_organisations(mailstead: Any) -> None:
    mailstead("domain", "add", "example.net")
    mailstead("domain", "add", "example.com", "--organisation", "Acme")
    mailstead("domain", "add", "acme.example", "--organisation", "Acme")
    owners = {d["name"]: d["organisation"] for d in mailstead("domain", "list", "--json").json()}
    assert owners == {
        "example.org": "example.org",
        "example.net": "example.org",
        "example.com": "Acme",
        "acme.example": "Acme",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("domain", "add", "example.org"), 1, "mailstead domain list"),
        (("domain", "add", "exa mple"), 2, "is no domain name"),
        (("domain", "add", "[192.0.2.1]"), 2, "address literal"),
        (("domain", "delete", "example.net"), 1, "mailstead domain add example.net"),
        (("domain", "delete", "example.org"), 1, "mailstead account list --domain example.org"),
        (("domain", "catch-all", "example.org"), 2, "--none"),
        (("domain", "catch-all", "example.org", ALICE, "--none"), 2, "--none"),
        (("domain", "catch-all", "example.org", BOB), 1, "mailstead account list"),
        (("account", "add"), 2, "--from-csv"),
        (("account", "add", BOB), 2, "--generate-password"),
        (("account", "add", "x@example.net", "--generate-password"), 1, "mailstead domain add"),
        (("account", "add", ALICE, "--generate-password"), 1, "mailstead account show"),
        (("account", "add", "a+b@example.org", "--generate-password"), 1, "leave it out"),
        (("account", "add", BOB, "--quota", "much", "--generate-password"), 2, "2 GiB"),
        (("account", "show", BOB), 1, "mailstead account list"),
        (("account", "quota", BOB, "1 GiB"), 1, "mailstead account list"),
        (("account", "password", BOB, "--generate-password"), 1, "mailstead account list"),
        (("account", "disable", BOB), 1, "mailstead account list"),
        (("account", "delete", BOB, "--yes"), 1, "mailstead account list"),
        (("account", "delete", ALICE), 2, "--yes"),
        (("alias", "add", "sales@example.org"), 2, "TARGETS"),
        (("alias", "add", ALICE, BOB), 1, "mailstead alias list"),
        (("alias", "add", "sales@example.net", BOB), 1, "mailstead domain add example.net"),
        (("alias", "delete", ALICE), 1, "mailstead alias list"),
    ],
)
def test_refusals_teach(mailstead: Any, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = mailstead(*arguments)
    assert code == ran.code
    assert says in " ".join(ran.err.split())
    assert ran.out == ""


def test_the_catch_all(mailstead: Any) -> None:
    assert mailstead("domain", "catch-all", "example.org", ALICE).code == 0
    assert mailstead("domain", "list", "--json").json()[0]["catch_all"] == ALICE
    assert mailstead("domain", "catch-all", "example.org", "--none").code == 0
    assert mailstead("domain", "list", "--json").json()[0]["catch_all"] is None


# ---------------------------------------------------------------------- accounts


def test_an_account_is_made_and_logs_in(mailstead: Any) -> None:
    assert add(mailstead, "Bob@example.org", "--name", "Bob B.", "--quota", "2 GiB").code == 0
    shown = mailstead("account", "show", BOB, "--json").json()
    assert shown["account"] == {
        "login": BOB,
        "name": "Bob B.",
        "active": True,
        "quota": 2 * 1024**3,
        "used": 0,
        "messages": 0,
    }
    assert shown["mailboxes"][0]["name"] == "INBOX"
    assert len(shown["mailboxes"]) == 6
    assert logs_in(mailstead, BOB, PASSWORD)
    assert not logs_in(mailstead, BOB, PASSWORD + "!")


def test_no_hash_is_ever_printed(mailstead: Any) -> None:
    for arguments in (("list",), ("show", ALICE), ("quota", ALICE, "5"), ("enable", ALICE)):
        for option in ((), ("--json",)):
            assert "argon2" not in mailstead("account", *arguments, *option).out


def test_another_password(mailstead: Any, write_file: Callable[[str, str], str]) -> None:
    path = write_file("password", "new password\nsecond line\n")
    assert mailstead("account", "password", ALICE, "--password-file", path).code == 0
    assert logs_in(mailstead, ALICE, "new password")
    made_up = mailstead("account", "password", ALICE, "--generate-password", "--json").json()
    assert logs_in(mailstead, ALICE, made_up["password"])
    ran = mailstead("account", "password", ALICE, "--password-stdin", stdin="short")
    assert (ran.code, "too short" in ran.err) == (1, True)
    assert logs_in(mailstead, ALICE, made_up["password"])


@pytest.mark.parametrize("password", ["", "1234567", "long enough\x00", "x" * 1025])
def test_passwords_that_cannot_be(mailstead: Any, password: str) -> None:
    ran = mailstead("account", "add", BOB, "--password-stdin", stdin=password)
    assert ran.code == 1
    assert "password" in ran.err


def test_switched_off_and_on(mailstead: Any) -> None:
    assert mailstead("account", "disable", ALICE).code == 0
    assert not logs_in(mailstead, ALICE, PASSWORD)
    assert "no: it cannot log in" in mailstead("account", "show", ALICE).out
    assert mailstead("account", "enable", ALICE).code == 0
    assert logs_in(mailstead, ALICE, PASSWORD)


def test_the_list(mailstead: Any) -> None:
    mailstead("domain", "add", "example.net")
    for address in (BOB, "carol@example.net"):
        add(mailstead, address)
    logins = [one["login"] for one in mailstead("account", "list", "--json").json()]
    assert logins == [ALICE, BOB, "carol@example.net"]
    logins = [one["login"] for one in mailstead("account", "list", "--limit", "2", "--json").json()]
    assert logins == [ALICE, BOB]
    of_net = mailstead("account", "list", "--domain", "example.net", "--json").json()
    assert [one["login"] for one in of_net] == ["carol@example.net"]


def test_erasure_leaves_nothing(mailstead: Any, write_file: Callable[[str, str], str]) -> None:
    before = rows_left(mailstead)
    add(mailstead, BOB)
    mailstead("domain", "catch-all", "example.org", BOB)
    fill(mailstead, BOB, 2300)
    ran = mailstead("account", "delete", BOB, "--yes", "--json")
    assert ran.json() == {"deleted": BOB, "messages": 2300}
    assert "2000 of 2300 messages" in ran.err
    assert before == rows_left(mailstead)
    assert mailstead("domain", "list", "--json").json()[0]["catch_all"] is None
    assert add(mailstead, BOB).code == 0


def fill(mailstead: Any, login: str, count: int) -> None:
    """Mail for an account, with a keyword and some already expunged."""
    from mailstead.model.entries import Accepted
    from mailstead.model.flags import DELETED
    from mailstead.model.numbers import TraceId
    from mailstead.services.delivery.plan import render
    from mailstead.storage import accounts, mailboxes, messages
    from mailstead.storage.blobs import MemoryBody
    from mailstead.storage.plan import Append, Plan

    header, body = b"Subject: Hello\r\n\r\n", MemoryBody(b"Hi!\r\n")

    async def work() -> None:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            account = await house.store.read(lambda tx: accounts.get_account(tx, login))
            inbox = await house.store.read(lambda tx: mailboxes.get(tx, account.id, "INBOX"))
            now = house.world.clock.now()
            step = Append(account.id, inbox.id, header, render(header, body), now, keywords="$Junk")
            for start in range(0, count + 1, 100):
                steps = (step,) * min(100, count + 1 - start)
                story = (Accepted(at=now, reverse_path="", recipients=(), size=0),)
                await house.store.apply(
                    Plan(steps, TraceId(f"t{start}"), account.organisation, body, story)
                )
            await house.store.write(
                lambda tx: messages.set_flags(tx, inbox.id, [(1, 1)], "add", DELETED, "")
            )
            await house.store.write(lambda tx: messages.expunge(tx, inbox.id, [(1, 1)]))

    asyncio.run(work())


# ---------------------------------------------------------------------- many at once


def test_accounts_from_a_file(mailstead: Any, write_file: Callable[[str, str], str]) -> None:
    path = write_file(
        "people.csv",
        "\ufeffAddress,password,name,quota\n"
        "bob@example.org,long enough,Bob,1 GiB\n"
        '"carol@example.org","with, comma","Carol ""C""",\n'
        "nobody@example.net,long enough,,\n"
        "alice@example.org,long enough,,\n"
        "dan@example.org,short,,\n"
        "no address,long enough,,\n"
        "erin@example.org,long enough,,lots\n"
        "\n"
        "frank@example.org,long enough\n"
        "bob@example.org,long enough,,\n",
    )
    ran = mailstead("account", "add", "--from-csv", path, "--json")
    assert ran.code == 1
    done = ran.json()
    assert done["added"] == 2
    assert [bad["line"] for bad in done["refused"]] == [4, 5, 6, 7, 8, 10, 11]
    reasons = [bad["reason"] for bad in done["refused"]]
    words = ["domain add", "is taken", "too short", "no @", "no size", "2 columns", "is taken"]
    assert all(word in reason for word, reason in zip(words, reasons, strict=True)), reasons
    assert logs_in(mailstead, "carol@example.org", "with, comma")
    assert mailstead("account", "show", "carol@example.org", "--json").json()["account"][
        "name"
    ] == ('Carol "C"')
    assert "long enough" not in ran.out


def test_all_rows_good_is_exit_code_0(
    mailstead: Any, write_file: Callable[[str, str], str]
) -> None:
    rows = "".join(f"long enough,p{number}@example.org\n" for number in range(120))
    ran = mailstead(
        "account", "add", "--from-csv", write_file("p.csv", "password,address\n" + rows)
    )
    assert (ran.code, ran.out) == (0, "120 accounts added, 0 rows refused.\n")
    assert "of 120 rows" in ran.err
    assert len(mailstead("account", "list", "--json").json()) == 121


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has to name the columns"),
        ("bob@example.org,long enough\n", "has to name the columns"),
        ("address,password,shoe size\n", "has to name the columns"),
        ("address,password,address\n", "has to name the columns"),
        ('address,password\n"bob@example.org,x\n', "is not a CSV file"),
    ],
)
def test_files_that_are_none(
    mailstead: Any, write_file: Callable[[str, str], str], text: str, says: str
) -> None:
    ran = mailstead("account", "add", "--from-csv", write_file("p.csv", text))
    assert (ran.code, says in ran.err) == (1, True)
    assert mailstead("account", "add", "--from-csv", "/nonexistent").code == 1


def test_a_file_that_is_not_utf8(mailstead: Any) -> None:
    path = mailstead.folder / "latin1.csv"
    path.write_bytes(b"address,password,name\nbob@example.org,long enough,J\xf6rg\n")
    ran = mailstead("account", "add", "--from-csv", str(path))
    assert (ran.code, "UTF-8" in ran.err) == (1, True)
    assert len(mailstead("account", "list", "--json").json()) == 1


# ---------------------------------------------------------------------- aliases


def test_an_alias_comes_and_goes(mailstead: Any) -> None:
    ran = mailstead("alias", "add", "sales@example.org", ALICE, "x@example.com", BOB)
    assert ran.code == 0
    assert f"mailstead account add {BOB}" in ran.err
    assert mailstead("alias", "list", "--domain", "example.org", "--json").json() == [
        {"address": "sales@example.org", "targets": [ALICE, BOB, "x@example.com"]}
    ]
    assert mailstead("account", "show", ALICE, "--json").json()["aliases"] == ["sales@example.org"]
    assert mailstead("alias", "delete", "sales@example.org").code == 0
    assert json.loads(mailstead("alias", "list", "--json").out) == []


def test_a_warning_is_safe_to_copy(mailstead: Any) -> None:
    ran = mailstead("alias", "add", "sales@example.org", "a&reboot@example.org")
    assert ran.code == 0
    assert "mailstead account add 'a&reboot@example.org'" in ran.err
