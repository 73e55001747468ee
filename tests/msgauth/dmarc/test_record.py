"""DMARC records: tables of what they say, and of what is none."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.msgauth.dmarc.record import (
    RECORD_LIMIT,
    URIS_LIMIT,
    Mode,
    Policy,
    Psd,
    Record,
    only_record,
    softened,
)

NONE, QUARANTINE, REJECT = Policy
FEEDBACK = "mailto:dmarc-feedback@example.com"


def read(text: str) -> Record | None:
    return only_record([text])


@pytest.mark.rfc("9989 section 4.7")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The examples of RFC 9989 appendix B.2 and B.3.
        ("v=DMARC1; p=none; rua=" + FEEDBACK, Record(NONE, rua=(FEEDBACK,))),
        (
            f"v=DMARC1; p=none; rua={FEEDBACK}; ruf=mailto:auth-reports@example.com",
            Record(NONE, rua=(FEEDBACK,), ruf=("mailto:auth-reports@example.com",)),
        ),
        (
            f"v=DMARC1; p=quarantine; rua={FEEDBACK},mailto:tld-test@thirdparty.example.net; t=y",
            Record(
                QUARANTINE,
                rua=(FEEDBACK, "mailto:tld-test@thirdparty.example.net"),
                testing=True,
            ),
        ),
        (f"v=DMARC1; p=reject; aspf=r;\n rua={FEEDBACK}", Record(REJECT)),  # a LF is no space
        (f"v=DMARC1; p=reject; aspf=r; rua={FEEDBACK}", Record(REJECT, rua=(FEEDBACK,))),
        # All tags.
        (
            "v=DMARC1;p=none;sp=quarantine;np=reject;adkim=s;aspf=s;psd=y;t=y;ri=3600;fo=1:d:s;"
            "ruf=mailto:a@b.c",
            Record(
                NONE,
                QUARANTINE,
                REJECT,
                Mode.STRICT,
                Mode.STRICT,
                Psd.YES,
                True,
                (),
                ("mailto:a@b.c",),
                ("1", "d", "s"),
                timedelta(hours=1),
            ),
        ),
        ("v = DMARC1 ;\tp\t=\treject ; ; ", Record(REJECT)),
        ("V=DMARC1;P=REJECT;PSD=N;ADKIM=S", Record(REJECT, adkim=Mode.STRICT, psd=Psd.NO)),
        # What is wrong or unknown counts as not said.
        ("v=DMARC1; p=none; adkim=x; aspf=; psd=maybe; t=1; pct=7; ri=x", Record(NONE)),
        ("v=DMARC1; p=none; adkim=s; adkim=r; psd=n; psd=n", Record(NONE, psd=Psd.NO)),
        ("v=DMARC1; p=none; 7=8; =; x; caf\u00e9=y; sp\u00e9=z", Record(NONE)),
        ("v=DMARC1; p=none; fo=1", Record(NONE)),  # counts only with ruf
        ("v=DMARC1; p=none; ruf=mailto:a@b.c; fo=0:1", Record(NONE, ruf=("mailto:a@b.c",))),
        ("v=DMARC1; p=none; ruf=mailto:a@b.c; fo=d:d", Record(NONE, ruf=("mailto:a@b.c",))),
        ("v=DMARC1; p=none; ri=99999999999999", Record(NONE)),
        (
            "v=DMARC1; p=none; rua=mailto:a@b.c!10m , https://d.e/f!5, not a uri,x:y!z,:,,",
            Record(NONE, rua=("mailto:a@b.c", "https://d.e/f")),
        ),
    ],
)
def test_records(text: str, expected: Record) -> None:
    assert expected == read(text)


@pytest.mark.rfc("9989 section 4.10.1")
@pytest.mark.parametrize(
    "fault", ["", "p=", "p=no", "p=none;p=reject", "p=none;sp=x", "p=none;np="]
)
def test_faults_in_policies(fault: str) -> None:
    without = read("v=DMARC1;" + fault)
    assert without is not None
    assert (without.p, bool(without.problem)) == (None, True)
    with_reports = read(f"v=DMARC1;{fault};adkim=s;rua={FEEDBACK}")
    assert with_reports is not None
    expected = Record(NONE, adkim=Mode.STRICT, rua=(FEEDBACK,), problem=without.problem)
    assert expected == with_reports


@pytest.mark.rfc("9989 section 4.10")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["v=DMARC1; p=none"], Record(NONE)),
        (["v=DMARC1; p=none", "v=DMARC1; p=none"], None),
        (["v=DMARC1; p=none", "v=spf1 -all", "v=DMARC2; p=none"], Record(NONE)),
        (["v=dmarc1; p=none"], None),
        (["v=DMARC10; p=none"], None),
        (["p=none; v=DMARC1"], None),
        ([" v=DMARC1; p=none"], None),
        (["v=DMARC1 p=none"], None),
        (["v=DMARC1; p=none;" + " " * RECORD_LIMIT], None),
    ],
)
def test_only_one_record_counts(texts: list[str], expected: Record | None) -> None:
    assert expected == only_record(texts)


@pytest.mark.rfc("9989 section 4.7")
def test_one_level_below() -> None:
    assert [softened(policy) for policy in (NONE, QUARANTINE, REJECT)] == [NONE, NONE, QUARANTINE]


def test_addresses_have_their_limit() -> None:
    found = read("v=DMARC1; p=none; rua=" + ",".join(f"mailto:{n}@b.c" for n in range(100)))
    assert found is not None
    assert len(found.rua) == URIS_LIMIT


@given(st.one_of(st.text(), st.text("vp=;none DMARC1!,:kt\t")))
def test_any_text_is_a_record_or_not(text: str) -> None:
    for whole in (text, "v=DMARC1;" + text, "v=DMARC1;p=none;rua=" + text):
        found = read(whole)
        assert found is None or found.p is not None or found.problem


@pytest.mark.parametrize(
    "text", [" ", ";", "p=none;", "p= ", "p=x\t", "rua=,", "a!1", "=", "rua=a:!"]
)
@pytest.mark.parametrize("end", ["", "\x80"])
def test_reading_takes_no_longer_than_the_record(text: str, end: str) -> None:
    start = time.process_time()
    read(("v=DMARC1;" + text * RECORD_LIMIT)[: RECORD_LIMIT - 1] + end)
    assert time.process_time() - start < 0.5  # some ms
