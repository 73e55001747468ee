"""SHA512-CRYPT against hashes that other programs made."""

import pytest

from mailstead.services import sha512crypt

VECTORS = [
    (
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoE"
        "OfaS35inz1",
    ),
    (
        "",
        "$6$x$QSmr1Bx2g4O6BzKvdkgOcyU6H91X6I/XBv5pSalMhSPkwdH6Beo3F45"
        "5xZJg0v//bxVK5F4OE5k1.0xuR26MK0",
    ),
    (
        "a" * 200,
        "$6$rounds=1000$roundstoolow$9PXyIapEwN8nu8WnZZwVFuu1c9ZnI1IJva9OmeeP/wk3KigR9LvnSZVxpBiFyC1o"
        "6PJrUVdlIuudf/HIt4A6M/",
    ),
    (
        "päss" * 20,
        "$6$rounds=1400$anotherlongsalts$x8DWYnMrMIn5f/uEKrcViixCG3BUMVYSt9rB85KsyO7Q9uCY.FEk.meZRWK8"
        "atJgCJCBHRef74h2wKJngCAsr1",
    ),
]


@pytest.mark.parametrize(("password", "stored"), VECTORS)
def test_vectors(password, stored):
    assert sha512crypt.is_sha512_crypt(stored)
    assert sha512crypt.verify(stored, password)
    assert not sha512crypt.verify(stored, password + "x")


@pytest.mark.parametrize("stored", ["", "$6$", "$6$salt$short", "$5$salt$" + "x" * 86, "x"])
def test_what_is_none(stored):
    assert not sha512crypt.is_sha512_crypt(stored)
    assert not sha512crypt.verify(stored, "")
