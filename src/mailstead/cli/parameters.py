"""What commands take: addresses, domains, sizes and times, checked before anything is done."""

import ipaddress
import re
from datetime import UTC, datetime, timedelta

import click

from mailstead.model.address import Address, Domain, parse_address, parse_domain

_SIZE = re.compile(r"(\d{1,15})\s*(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?\Z")
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_UNITS |= {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
SIZE_LIMIT = 2**62  # octets; what the database keeps


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """The address; a usage error if it is none."""
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _DomainType(click.ParamType[Domain]):
    name = "domain"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Domain:
        """The domain in A-labels; a usage error if it is none or an address literal."""
        try:
            domain = parse_domain(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if domain.startswith("["):
            self.fail(f"{value!r} is an address literal, not a domain name", param, ctx)
        return domain


class _IpAddressType(click.ParamType[str]):
    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address in its shortest form; a usage error if it is none."""
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            self.fail(f"{value!r} is no IP address", param, ctx)


class _SizeType(click.ParamType[int]):
    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Octets; a usage error if it is no size."""
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _TimeType(click.ParamType[datetime | timedelta]):
    name = "time"

    def convert(
        self,
        value: str | datetime | timedelta,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime | timedelta:
        """A time, or how long ago; a usage error if it is neither."""
        try:
            return parse_time(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_time(text: str) -> datetime | timedelta:
    """How long ago ("30m", "2h", "7d"), or a day or a time of ISO 8601, in UTC."""
    if found := _AGO.match(text.strip()):
        return timedelta(seconds=int(found[1]) * _LENGTHS[found[2]])
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(
            f'{text!r} is no time; write it as "2h" (two hours ago), "2026-11-21" or'
            ' "2026-11-21T10:30" (in UTC)'
        ) from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


_AGO = re.compile(r"([0-9]{1,6})([smhdw])\Z")
_LENGTHS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_size(text: str) -> int:
    """Octets of "2 GiB" or of a plain number; ValueError if it is neither."""
    found = _SIZE.match(text.strip())
    size = int(found[1]) * _UNITS[found[2] or ""] if found else SIZE_LIMIT + 1
    if size > SIZE_LIMIT:
        raise ValueError(f'{text!r} is no size; write it as "2 GiB"')
    return size


ADDRESS = _AddressType()
IP_ADDRESS = _IpAddressType()
DOMAIN = _DomainType()
SIZE = _SizeType()
TIME = _TimeType()
