"""RFC conformance is a table from section to test; what it says has to be true.

docs/rfcs.toml lists each RFC with the sections we claim. A section that code or tests cite has to
belong to a listed RFC; a claimed section has to have a test.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import conformance  # noqa: E402


def test_every_cited_rfc_is_listed() -> None:
    listed = set(conformance.rfcs())
    cited = {number for number, _ in conformance.cited_in(ROOT / "src")}
    cited |= {number for number, _ in conformance.tested_in(ROOT / "tests")}
    assert sorted(cited - listed) == [], "add these RFCs to docs/rfcs.toml"


def test_every_claimed_section_has_a_test() -> None:
    tested = set(conformance.tested_in(ROOT / "tests"))
    untested = [
        (number, section)
        for number, rfc in conformance.rfcs().items()
        for section in conformance.sections(rfc)
        if (number, section) not in tested
    ]
    assert untested == [], "write a test with @pytest.mark.rfc, or do not claim the section"


def test_full_means_full() -> None:
    for number, rfc in conformance.rfcs().items():
        assert rfc["status"] in ("full", "partial", "planned", "no"), number
        if rfc["status"] == "full":
            todo = [s for s, what in conformance.sections(rfc).items() if what.startswith("todo")]
            assert todo == [], f"RFC {number} is marked full but has sections to do"
