"""What programs call as `sendmail`: a message from the standard input, handed to the server.

Under the names sendmail, mailq and newaliases `mailstead` behaves as those do with other servers:
    ln -s $(command -v mailstead) /usr/sbin/sendmail
It speaks SMTP to MAILSTEAD_HOST (127.0.0.1:25), so the server has to let it: `relay_from`.
Exit codes are those of sysexits.h; what cannot be handed over is told, and never kept here.
"""

import getopt
import getpass
import os
import shutil
import smtplib
import socket
import sys
import threading
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import formataddr, getaddresses
from typing import BinaryIO

import msgspec

HOST = "127.0.0.1:25"
TIMEOUT = 600.0  # seconds, for each answer (RFC 5321 section 4.5.3.2.6)
SIZE_LIMIT = 1024**3  # octets; the server's own limit is told by it
RECIPIENTS_LIMIT = 200  # of one transaction

USAGE, DATA, NO_USER, UNAVAILABLE, TRY_LATER, NO_PERMISSION = 64, 65, 67, 69, 75, 77

# Those with a value first. What other sendmails know and has no meaning here is passed over.
_OPTIONS = "f:r:F:B:C:L:N:O:R:V:X:A:D:d:h:M:o:p:b:e:q:ivtUGnxms"
_BARE = ("-q", "-d", "-e", "-bs", "-bp", "-bm", "-bi", "-bv")


class Wanted(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    mode: str = "m"  # as -b has it: m, s, p, i
    sender: str | None = None
    name: str = ""
    recipients: tuple[str, ...] = ()
    from_header: bool = False  # -t
    dot_ends: bool = True  # without -i
    notify: str = ""
    ret: str = ""
    envid: str = ""


class Failure(Exception):
    """Why the message was not handed over, and the exit code."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code


def run(name: str, arguments: Sequence[str]) -> int:
    """Do what the program of that name does; the exit code."""
    try:
        return _run(name, arguments)
    except Failure as failure:
        sys.stderr.write(f"{name}: {failure}\n")
        return failure.code


def _run(name: str, arguments: Sequence[str]) -> int:
    wanted = parse(arguments)
    if name == "newaliases" or wanted.mode == "i":
        return 0  # aliases are in the database: mailstead alias
    if name == "mailq" or wanted.mode == "p":
        return _list_queue()
    if wanted.mode == "s":
        return _speak_smtp()
    if wanted.mode != "m":
        raise Failure(USAGE, f"-b{wanted.mode} is not known here")
    send(wanted, sys.stdin.buffer)
    return 0


def parse(arguments: Sequence[str]) -> Wanted:
    """The command line of sendmail(1), as Postfix and others document it."""
    try:
        options, recipients = getopt.gnu_getopt(_unbare(arguments), _OPTIONS)
    except getopt.GetoptError as error:
        raise Failure(USAGE, str(error)) from None
    values = dict(options)
    ignores_dot = "-i" in values or ("-o", "i") in options
    return Wanted(
        mode=values.get("-b", "m"),
        sender=values.get("-f", values.get("-r")),
        name=values.get("-F", ""),
        recipients=tuple(recipients),
        from_header="-t" in values,
        dot_ends=not ignores_dot,
        notify=values.get("-N", "").upper(),
        ret=values.get("-R", "").upper(),
        envid=values.get("-V", ""),
    )


def _unbare(arguments: Sequence[str]) -> list[str]:
    """-q, -d and -e may stand without a value."""
    return [f"{one}-" if one in ("-q", "-d", "-e") else one for one in arguments]


def send(wanted: Wanted, source: BinaryIO) -> None:
    """Hand the message over; Failure if the server does not take it for everybody."""
    message = read_message(source, wanted.dot_ends)
    header = BytesHeaderParser().parsebytes(message)
    domain = _domain()
    sender = _qualify(getpass.getuser() if wanted.sender is None else wanted.sender, domain)
    recipients = [*wanted.recipients, *(_recipients(header) if wanted.from_header else ())]
    recipients = list(dict.fromkeys(_qualify(one, domain) for one in recipients))
    if not recipients:
        raise Failure(USAGE, "no recipients: name them, or use -t")
    if header["From"] is None and sender:
        message = f"From: {formataddr((wanted.name, sender))}\r\n".encode() + message
    with _connect() as server:
        for start in range(0, len(recipients), RECIPIENTS_LIMIT):
            some = recipients[start : start + RECIPIENTS_LIMIT]
            _hand_over(server, wanted, sender, some, message)


def read_message(source: BinaryIO, dot_ends: bool) -> bytes:
    """The message with CRLF, up to its end, or to a line with a dot alone."""
    message = source.read(SIZE_LIMIT).replace(b"\r\n", b"\n")
    if dot_ends:
        before, dot, _ = (b"\n" + message + b"\n").partition(b"\n.\n")
        message = before[1:] + b"\n" if dot else message
    if not message.endswith(b"\n"):
        message += b"\n"
    if b"\n\n" not in message and not message.startswith(b"\n"):
        message += b"\n"
    return message.replace(b"\n", b"\r\n")


def _recipients(header: Message) -> list[str]:
    """Everybody in To, Cc and Bcc; the server takes Bcc away."""
    fields = [str(value) for name in ("To", "Cc", "Bcc") for value in header.get_all(name, [])]
    return [address for _, address in getaddresses(fields) if address]


def _qualify(address: str, domain: str) -> str:
    plain = address.strip("<> ")
    return plain if "@" in plain or not plain else f"{plain}@{domain}"


def _domain() -> str:
    """Behind names without one; its mail has to be hosted here for them to be senders."""
    return os.environ.get("MAILSTEAD_DOMAIN") or socket.getfqdn()


def _connect() -> smtplib.SMTP:
    host, _, port = os.environ.get("MAILSTEAD_HOST", HOST).rpartition(":")
    try:
        return smtplib.SMTP(host.strip("[]"), int(port), timeout=TIMEOUT)
    except (OSError, ValueError, smtplib.SMTPException) as error:
        raise Failure(TRY_LATER, f"no mail server at {host}:{port}: {error}") from error


def _hand_over(
    server: smtplib.SMTP, wanted: Wanted, sender: str, recipients: list[str], message: bytes
) -> None:
    try:
        server.ehlo_or_helo_if_needed()
        dsn = server.has_extn("dsn")
        options = [f"RET={wanted.ret}"] * bool(dsn and wanted.ret)
        options += [f"ENVID={wanted.envid}"] * bool(dsn and wanted.envid)
        if not all(one.isascii() for one in (sender, *recipients)):
            options.append("SMTPUTF8")
        wishes = [f"NOTIFY={wanted.notify}"] if dsn and wanted.notify else []
        refused = server.sendmail(sender, recipients, message, options, wishes)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPResponseException as error:
        raise Failure(_code(error.smtp_code, DATA), _said(error.smtp_error)) from error
    except (OSError, smtplib.SMTPException) as error:
        raise Failure(TRY_LATER, f"the mail server broke off: {error}") from error
    if refused:
        told = "\n".join(f"{one}: {_said(said)}" for one, (_, said) in refused.items())
        codes = [code for code, _ in refused.values()]
        raise Failure(_code(max(codes), NO_USER), f"not for all recipients:\n{told}{_hint(told)}")


def _code(reply: int, final: int) -> int:
    return final if reply >= 500 else TRY_LATER


def _said(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply


def _hint(told: str) -> str:
    if "does not relay for you" in told:
        return '\nLet this machine send: relay_from = ["127.0.0.1"] in the configuration'
    if "sender whose domain is hosted here" in told:
        return "\nGive a sender of a domain that is hosted here: -f, or MAILSTEAD_DOMAIN"
    return ""


def _list_queue() -> int:
    from mailstead.cli.main import main

    main(["queue", "list"], standalone_mode=False)
    return 0


def _speak_smtp() -> int:
    """-bs: SMTP on the standard input and output, spoken by the server."""
    host, _, port = os.environ.get("MAILSTEAD_HOST", HOST).rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT)
    except (OSError, ValueError) as error:
        raise Failure(TRY_LATER, f"no mail server at {host}:{port}: {error}") from error

    def listen() -> None:
        while line := sys.stdin.buffer.readline():
            connection.sendall(line.rstrip(b"\r\n") + b"\r\n")
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=listen, daemon=True).start()
    with connection, connection.makefile("rb") as answers:
        shutil.copyfileobj(answers, sys.stdout.buffer, 1)
    sys.stdout.buffer.flush()
    return 0
