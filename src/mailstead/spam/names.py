"""Names that the rules know: providers of free addresses, short links, endings of files, brands.

They lie in names.toml beside this module, for people to read; here they are checked, once.
"""

import tomllib
from typing import Any

import msgspec

from mailstead.spam.lookalikes import Known, know, main_domain, skeleton

NAMES_FILE = "names.toml"


class Names(msgspec.Struct, frozen=True):
    """What is known; `brands` is skeleton -> the word people know."""

    freemail: frozenset[str]
    shorteners: frozenset[str]
    programs: frozenset[str]
    wrappings: frozenset[str]
    macros: frozenset[str]
    web_pages: frozenset[str]
    documents: frozenset[str]
    imitated: dict[str, tuple[str, ...]]
    brands: dict[str, str]
    genuine: frozenset[str]
    known: Known

    def is_of(self, brand: str, domain: str) -> bool:
        """Whether the domain is one that the brand writes from, or its name in another country."""
        main = main_domain(domain)
        return main.partition(".")[0] == brand or main in self.imitated.get(brand, ())


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    freemail: frozenset[str]
    shorteners: frozenset[str]
    programs: frozenset[str]
    wrappings: frozenset[str]
    macros: frozenset[str]
    web_pages: frozenset[str]
    documents: frozenset[str]
    imitated: dict[str, tuple[str, ...]]


def parse_names(toml: str) -> Names:
    """The names of a file; ValueError says what is wrong with it."""
    data: dict[str, Any] = tomllib.loads(toml)
    file = msgspec.convert(data, _File)
    genuine = {domain for domains in file.imitated.values() for domain in domains}
    return Names(
        **msgspec.structs.asdict(file),
        brands={skeleton(brand): brand for brand in file.imitated},
        genuine=frozenset(genuine | {main_domain(one) for one in genuine}) | file.freemail,
        known=know(sorted(genuine)),
    )
