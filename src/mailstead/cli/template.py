"""The configuration that `mailstead setup` writes: every setting, what it does, why it is there.

A line that begins with "# " is text; one that begins with "#" alone is a setting at its default:
take the "#" away to change it.
"""

import msgspec

from mailstead.server.config import Config, Smarthost

_EXAMPLE = Smarthost("smtp.example.net:587")


def config_text(config: Config) -> str:
    """The annotated file of a server: its name, database, user and smarthost, all else default."""
    smarthost = config.smarthost or _EXAMPLE
    return _TEMPLATE.format(
        hostname=_value(config.hostname),
        database=_value(config.database),
        user=_value(config.user),
        mark="" if config.smarthost else "#",
        host=_value(smarthost.host),
        login=_value(smarthost.login),
        password_file=_value(smarthost.password_file),
        ca_mark="" if config.tls.ca_file else "#",
        ca_file=_value(config.tls.ca_file),
    )


def _value(text: str) -> str:
    """A TOML string; what JSON writes is one (TOML 1.0, basic strings)."""
    return msgspec.json.encode(text).decode()


_TEMPLATE = """\
# The configuration of Mailstead: what this machine needs to start.
# Domains, accounts and aliases are not here but in the database: `mailstead domain`,
# `mailstead account`, `mailstead alias`. After a change: `mailstead check config`, then SIGHUP.
#
# A line "#key = value" shows a default; take the # away to change it.

# The name of this server: in its greeting, in its Received fields, in MX records. The PTR record
# of its address must say the same. No default: nobody else has this name.
hostname = {hostname}

# Where mail is kept: an SQLite file, or "postgresql://user@host/name" for more than one machine.
# Default: sqlite:///var/lib/mailstead/mailstead.db. Machines differ in where their big disk is.
database = {database}

# Where bodies go once they are packed: a folder, or "s3://bucket/prefix?region=eu-central-1", with
# "&endpoint=https://s3.example.org" for another store than Amazon's. Empty by default: the folder
# `packs` beside the database. Fill it in where the machine's own disk is not the place.
#blobs = ""

# The folder of all else that this machine keeps: spool, certificates of our own making, caches.
# Empty by default: beside an SQLite file, /var/lib/mailstead with PostgreSQL.
#data = ""

# The system's user that the server runs as, once its ports are open; commands started by root
# become this user too. Default: mailstead. Packages and containers name it differently.
user = {user}

# How many processes serve; each is a whole server, of some 50 MB. 0: one less than this machine has
# cores, for the rest of the machine needs one too; but two where there are two.
#workers = 0

# Where our own mail may go besides the public internet: networks, as "10.0.0.0/8". Empty by
# default: a stranger's MX record must not lead us to a machine of the internal network.
#allowed_targets = []

# Networks, as "10.0.0.0/8", from which port 25 takes mail for anywhere without log-in, if its
# sender's domain is hosted here: printers, scanners. Empty by default: everybody has to log in.
#relay_from = []

# Networks of proxies in front of us, which tell whom they speak for (PROXY protocol 1 or 2). They
# have to; nobody else is believed. Empty by default: the peer of a connection is the client.
#proxies = []

# Networks of mail proxies and filters that say by XCLIENT for which client, and for which login,
# they speak. Their word is believed, so list nobody else. Empty by default.
#xclient_from = []

# Let mail programs on this very machine log in without TLS. False by default; for developers.
#loopback_clear_text = false

# An account that gets all mail for elsewhere instead of it leaving: for servers on which people
# try things out. Empty by default: mail leaves.
#catch_outside = ""

# Addresses with ports for each protocol; an empty list switches it off. By default all addresses
# of the machine; change it where another program has the port or only one address is for mail.
[listen]
# Mail from other servers (RFC 5321).
#smtp = ["0.0.0.0:25", "[::]:25"]
# Mail from people's mail programs, with STARTTLS (RFC 6409).
#submission = ["0.0.0.0:587", "[::]:587"]
# The same, with TLS from the first octet (RFC 8314): the better of the two.
#submissions = ["0.0.0.0:465", "[::]:465"]
# From hosts that deliver to us by LMTP (RFC 2033), this machine's and those of relay_from alone.
#lmtp = []
# Mailboxes for mail programs, with STARTTLS (RFC 9051).
#imap = ["0.0.0.0:143", "[::]:143"]
# The same, with TLS from the first octet (RFC 8314).
#imaps = ["0.0.0.0:993", "[::]:993"]
# Mail for programs that fetch it (POP3, RFC 1939), with STLS; an empty list where nobody does.
#pop3 = ["0.0.0.0:110", "[::]:110"]
# The same, with TLS from the first octet (RFC 8314).
#pop3s = ["0.0.0.0:995", "[::]:995"]
# Metrics and health over HTTP, for you alone: nobody has to log in there. Never a public address.
#operator = ["127.0.0.1:9325"]
# Where others fetch the MTA-STS policies of domains: ["0.0.0.0:443", "[::]:443"]. None by default.
#https = []
# Where an ACME server fetches its proof, while [tls.acme] below is in use without a webroot.
#http = ["0.0.0.0:80", "[::]:80"]

# Certificates: PEM files, the chain with our certificate first, and its key; by the name that a
# client asks for, else the first: [["mx.pem", "mx-key.pem"], ["other.pem", "other-key.pem"]]. None
# by default: then the server makes one, to which servers encrypt and of which mail programs warn.
[tls]
#certificates = []
# A certificate by ACME, renewed in time, for the hostname and for `names`; port 80 has to be open
# to the outside. Where a web server has that port, give the folder that it serves as `webroot`.
# `directory` is for another ACME server than Let's Encrypt.
# PEM file of CAs to believe beside the system's: of a smarthost, of an ACME server, of clients that
# log in by certificate. Empty by default: only you know whether you have a CA of your own.
{ca_mark}ca_file = {ca_file}
#   acme = {{ email = "you@example.org", names = [], webroot = "" }}

[limits]
# The biggest message that is taken, as "50 MiB". The default fits what others take; a server for
# few people with big files may want more, a small machine less.
#message_size = "50 MiB"
# Connections that one address (of IPv6 its /64) may have at a time before it has logged in. The
# default fits a big sender and an office; where thousands share one address it may need more.
#connections_per_address = 50
# How many connections an address may open in a minute; ten times as many if somebody logged in
# from it lately. The default fits as above.
#connections_per_minute = 120
# IMAP connections that one account may have at a time. The default fits a person with many
# devices; an account that a whole team reads may need more.
#connections_per_account = 50
# Whether this very machine (127.0.0.0/8, ::1) is exempt from the limits of addresses. True by
# default: a webmail here speaks for everybody. False to try the limits out.
#loopback_exempt = true

[dns]
# Resolvers, as "127.0.0.1" or "[::1]:53". Empty by default: those of /etc/resolv.conf.
#servers = []
# Believe their AD bit, which says that DNSSEC was checked. False by default: right only for a
# resolver that checks and to which nobody stands in between.
#trusted = false

# The object store of `blobs`, if it is one.
[s3]
# A file of two lines, the id of the access key and the key, for the server's user alone. Empty by
# default: the usual environment variables, or the role of the machine.
#credentials = ""
# Octets of packs that are kept on this machine. More where many read old mail.
#cache = "1 GiB"

# Domains whose mail goes another way than the MX records say, as "host:port"; "*.example.org"
# takes the domains below. None by default.
[routes]
#"example.net" = "relay.example.net:25"

# A server that takes all our outgoing mail, for where port 25 is shut or the address has a bad
# name. None by default: mail goes straight to its MX hosts.
{mark}[smarthost]
# Its name, and port if it is not 587. It has to speak TLS: by STARTTLS, at port 465 and written as
# "submissions://host:port" from the first octet.
{mark}host = {host}
# The name to log in with; empty: no log-in.
{mark}login = {login}
# A file whose first line is the password; readable by the server's user alone.
{mark}password_file = {password_file}
"""
