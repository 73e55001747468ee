"""Profiles of the big sites: who gets which, and how a new source begins."""

import pytest

from mailstead.services.outbound.providers import (
    OTHER,
    Limits,
    parse_providers,
    profile_of_host,
    shipped_providers,
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("gmail-smtp-in.l.google.com", "google"),
        ("ASPMX.L.GOOGLE.COM.", "google"),
        ("alt1.aspmx.l.google.com", "google"),
        ("smtp.google.com", "google"),
        ("aspmx2.googlemail.com", "google"),
        ("hotmail-com.olc.protection.outlook.com", "outlook.com"),
        ("example-com.mail.protection.outlook.com", "microsoft-365"),
        ("example-com.o-v1.mx.microsoft", "microsoft-365"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "icloud"),
        ("mx00.gmx.net", "gmx-web.de"),
        ("mx00.emig.gmx.net", "gmx-web.de"),
        ("mx-ha02.web.de", "gmx-web.de"),
        ("mx01.t-online.de", "t-online"),
        ("emig.freenet.de", "freenet"),
        ("mx00.kundenserver.de", "ionos"),
        ("mail.protonmail.ch", "proton"),
        ("smtp-in.orange.fr", "orange"),
        ("mx1.free.fr", "free"),
        ("smtpz4.laposte.net", "laposte"),
        ("mxs.mail.ru", "mail.ru"),
        ("mx.yandex.ru", "yandex"),
        ("mx1.comcast.net", "comcast"),
        ("mx3.qq.com", "qq"),
        ("163mx01.mxmail.netease.com", "163"),
        ("mx2.zoho.eu", "zoho"),
        ("mx.example.net", OTHER),
        # Whoever only looks like one.
        ("google.com.example.net", OTHER),
        ("notgoogle.com", OTHER),
        ("xmx1.free.fr", OTHER),
        ("", OTHER),
    ],
)
def test_finds_the_provider(host: str, expected: str) -> None:
    assert expected == profile_of_host(host).name


def test_one_host_of_a_site_is_enough() -> None:
    hosts = ("backup.example.net", "aspmx.l.google.com")
    assert shipped_providers().find(hosts).name == "google"


def test_what_a_profile_leaves_out_is_as_usual() -> None:
    providers = parse_providers(
        USUAL + "[[provider]]\nname = \"a\"\nhosts = ['.*\\.a\\.example']\nconnections = 2\n"
    )
    assert Limits(2, 0, 100) == providers.find(("mx.a.example",)).limits
    assert Limits(10, 0, 100) == providers.find(("mx.b.example",)).limits


def test_every_profile_sends_something_and_no_more_than_usual() -> None:
    providers = shipped_providers()
    for profile in providers.profiles:
        assert 1 <= profile.limits.connections <= providers.usual.limits.connections
        assert 1 <= profile.limits.messages_a_connection <= 100
        assert profile.limits.messages_a_minute > 0
        assert 0 < profile.warmup <= 1


@pytest.mark.parametrize(
    ("provider", "day", "expected"),
    [
        ("google", 0, 50),
        ("google", 1, 100),
        ("yahoo", 1, 50),
        ("qq", 0, 12),
        (OTHER, 20, 90_000),
        (OTHER, 21, None),
        ("google", -1, 50),
    ],
)
def test_a_new_source_sends_more_every_day(provider: str, day: int, expected: int | None) -> None:
    assert expected == shipped_providers().allowance(provider, day)


USUAL = """
[usual]
connections = 10
messages_a_connection = 100
messages_a_minute = 0
pause = 5
block_pause = 10
warmup = 1.0
[warmup]
days = [50]
"""


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ('[[provider]]\nname = "a"\nhosts = ["("]\n', "provider a: "),
        ('[[provider]]\nname = "other"\nhosts = []\n', "'other'"),
        ('[[provider]]\nname = "a"\nhosts = ["x"]\nconnections = 0\n', "nothing could be sent"),
        ('[[provider]]\nname = "a"\nhosts = ["x"]\n' * 2, "same name"),
        ('[[provider]]\nname = "a"\nhosts = ["x"]\nmessages = 1\n', "messages"),
    ],
)
def test_says_which_profile_is_wrong(entries: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_providers(USUAL + entries)
    assert problem in str(caught.value)
