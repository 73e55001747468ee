"""Numbers that must not be mixed up, each a type of its own."""

from typing import NewType

AccountId = NewType("AccountId", int)
BlobId = NewType("BlobId", int)  # the first of the consecutive rows that hold one body
ContentId = NewType("ContentId", int)
DomainId = NewType("DomainId", int)
EmailId = NewType("EmailId", int)  # one message of one account, wherever it is filed
MailboxId = NewType("MailboxId", int)
ModSeq = NewType("ModSeq", int)  # 63 bits, from the account's counter (RFC 7162 section 3.1)
OrganisationId = NewType("OrganisationId", int)
OutgoingId = NewType("OutgoingId", int)  # one message in the queue, whatever its recipients
QueueId = NewType("QueueId", int)  # one recipient in the queue
SeqNum = NewType("SeqNum", int)  # 1..EXISTS, shifts with every EXPUNGE (RFC 9051 section 2.3.1.2)
ThreadId = NewType("ThreadId", int)
Uid = NewType("Uid", int)  # 1..2**32-1, never reused (RFC 9051 section 2.3.1.1)
UidValidity = NewType("UidValidity", int)

TraceId = NewType("TraceId", str)  # the `id=` of log lines, journal and Received fields
