"""Whether a certificate leads to a trust anchor and names a host (RFC 5280 section 6, RFC 9525).

For anchors that the DNS names (DANE-TA); what chains to public CAs is OpenSSL's to check. Dates,
CA bits, path lengths, key usages and constraints on DNS names are minded; a certificate with any
other critical extension is not trusted. Revocation is not looked at.
"""

import warnings
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from mailstead.msgauth.tlsrpt import Result

Certificate = x509.Certificate

DIGEST_SIZE = 28  # octets; what is signed with a shorter one (SHA-1, MD5) can be forged
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,  # any policy will do
}
# What a certificate of a stranger's making can raise.
_BROKEN = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Anchors(msgspec.Struct, frozen=True):
    """What is trusted: certificates, and bare keys of which nothing else is known."""

    certificates: tuple[Certificate, ...]
    keys: tuple[PublicKeyTypes, ...] = ()


def load(der: bytes) -> Certificate | None:
    """The certificate, or None."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what may be refused one day
            return x509.load_der_x509_certificate(der)
    except _BROKEN:
        return None


def load_key(der: bytes) -> PublicKeyTypes | None:
    """The key of a SubjectPublicKeyInfo, or None."""
    try:
        return load_der_public_key(der)
    except _BROKEN:
        return None


def spki(der: bytes) -> bytes | None:
    """The SubjectPublicKeyInfo of a certificate, octet for octet, or None.

    Cut out, not encoded anew: keys of any kind are found, known here or not.
    """
    certificate = load(der)
    if certificate is None:
        return None
    _, start, _ = _element(certificate.tbs_certificate_bytes, 0)
    at, tbs = start, certificate.tbs_certificate_bytes
    tag, _, end = _element(tbs, at)
    fields = 5 + (tag == 0xA0)  # [version], serial, algorithm, issuer, validity, subject
    for _ in range(fields):
        _, _, at = _element(tbs, at)
    _, _, end = _element(tbs, at)
    return tbs[at:end]


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the DER element there; the parser has checked them."""
    size, start = data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2 : start], "big")
    return data[at], start, start + size


# ---------------------------------------------------------------------- paths


def check(
    leaf: Certificate,
    issuers: Sequence[Certificate],
    anchors: Anchors,
    names: Sequence[str],
    now: datetime,
) -> Result:
    """SUCCESS if a valid path leads from the leaf to an anchor, and one of the names is right."""
    try:
        path = _find_path(leaf, issuers, anchors)
        if path is None or not _is_sound(path):
            return Result.NOT_TRUSTED
        if not all(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in path):
            return Result.EXPIRED
        return Result.SUCCESS if is_for(leaf, names) else Result.HOST_MISMATCH
    except _BROKEN:
        return Result.NOT_TRUSTED


def _find_path(
    leaf: Certificate, issuers: Sequence[Certificate], anchors: Anchors
) -> list[Certificate] | None:
    """The shortest path; it ends with a trusted certificate, or before a trusted key."""
    paths, left = [[leaf]], list(issuers)
    for path in paths:  # which grows meanwhile
        if len(path) > 1 and path[-1] in anchors.certificates:
            return path
        if any(_is_signed(path[-1], key) for key in anchors.keys):
            return path
        for issuer in [one for one in left if _is_issued(path[-1], one)]:
            left.remove(issuer)
            paths.append([*path, issuer])
    return None


def _is_issued(certificate: Certificate, issuer: Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    return _is_signed(certificate, issuer.public_key())


def _is_signed(certificate: Certificate, key: PublicKeyTypes) -> bool:
    digest = certificate.signature_hash_algorithm  # EdDSA brings its own
    if digest is not None and digest.digest_size < DIGEST_SIZE:
        return False
    parameters = certificate.signature_algorithm_parameters
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        match key:
            case rsa.RSAPublicKey() if digest is not None and not isinstance(parameters, ec.ECDSA):
                key.verify(signature, signed, parameters, digest)  # type: ignore[arg-type]
            case ec.EllipticCurvePublicKey() if isinstance(parameters, ec.ECDSA):
                key.verify(signature, signed, parameters)
            case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
                key.verify(signature, signed)
            case _:
                return False
    except (InvalidSignature, *_BROKEN):
        return False
    return True


def _is_sound(path: Sequence[Certificate]) -> bool:
    """Each may do what it does in the path (RFC 5280 section 6.1.4)."""
    understood = all(
        extension.oid in _UNDERSTOOD or not extension.critical
        for one in path
        for extension in one.extensions
    )
    return (
        understood
        and all(map(_is_for_servers, path))
        and all(_may_issue(one, below) for below, one in enumerate(path[1:]))
        and all(_permits(one, path[0]) for one in path[1:])
    )


def _is_for_servers(certificate: Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    allowed = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    return any(oid in allowed for oid in usage)


def _may_issue(certificate: Certificate, below: int) -> bool:
    """Whether it is a CA for a path with so many CAs between it and the leaf."""
    extensions = certificate.extensions
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    if not basic.ca or (basic.path_length is not None and basic.path_length < below):
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _permits(issuer: Certificate, leaf: Certificate) -> bool:
    """Whether the issuer may speak for all DNS names of the leaf (RFC 5280 section 4.2.1.10)."""
    try:
        found = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    permitted, excluded = _subtrees(found.permitted_subtrees), _subtrees(found.excluded_subtrees)
    names = dns_names(leaf)
    if any(_is_below(name, tree) for name in names for tree in excluded):
        return False
    return not permitted or all(any(_is_below(name, tree) for tree in permitted) for name in names)


def _subtrees(names: Sequence[x509.GeneralName] | None) -> list[str]:
    return [one.value.lower() for one in names or () if isinstance(one, x509.DNSName)]


def _is_below(name: str, tree: str) -> bool:
    tree = tree.removeprefix(".")
    return not tree or name == tree or name.endswith("." + tree)


# ---------------------------------------------------------------------- names


def dns_names(certificate: Certificate) -> list[str]:
    """The DNS names of the certificate, in lower case; its common name if it has none (CN-ID)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    if not names:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(one.value) for one in common]
    return [name.lower().removesuffix(".") for name in names]


def is_for(certificate: Certificate, names: Sequence[str]) -> bool:
    """Whether one of the names is the certificate's; "*" is a whole first label, no more of it."""
    wanted = {name.lower() for name in names}
    wanted |= {"*." + parent for name in wanted if "." in (parent := name.partition(".")[2])}
    return any(name in wanted for name in dns_names(certificate))
