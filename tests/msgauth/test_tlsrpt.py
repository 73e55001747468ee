"""Who wants reports about TLS."""

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth import tlsrpt


@pytest.mark.rfc("8460 section 3")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("v=TLSRPTv1;rua=mailto:reports@example.com",), ("mailto:reports@example.com",)),
        (("v=TLSRPTv1; rua=https://r.example/v1; ",), ("https://r.example/v1",)),
        (
            ("v=TLSRPTv1; rua=mailto:a@example.com , https://r.example/",),
            ("mailto:a@example.com", "https://r.example/"),
        ),
        (("v=TLSRPTv1; x=y; rua=mailto:a@example.com; rua=mailto:b@x",), ("mailto:a@example.com",)),
        (("v=TLSRPTv1; rua=http://r.example/,ftp://x,mailto:a@b",), ("mailto:a@b",)),
        (("v=TLSRPTv1;",), ()),
        (("v=TLSRPTv2;rua=mailto:a@example.com",), ()),
        (("v=TLSRPTv1;rua=mailto:a@b", "v=TLSRPTv1;rua=mailto:a@b"), ()),
        (("v=TLSRPTv1;rua=" + ",".join(["mailto:a@b"] * 20),), ("mailto:a@b",) * 10),
        ((), ()),
    ],
)
def test_record(texts: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert expected == tlsrpt.parse_record(texts)


def test_a_silent_dns_says_nothing() -> None:
    lookup = tlsrpt.find_addresses("example.com")
    assert next(lookup) == Question("TXT", "_smtp._tls.example.com")
    with pytest.raises(StopIteration) as end:
        lookup.send(Answer(Status.TIMEOUT))
    assert end.value.value is None
