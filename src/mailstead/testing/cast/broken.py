"""Servers that break: silent, deaf, dropping the connection, or with TLS that is none."""

from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.testing.cast.remote import Answer, HangUp, Remote, Script, Silence


def silent() -> Remote:
    """Takes the connection and never says a word."""
    return Remote(Script(greet=Silence))


def without_tls() -> Remote:
    """Offers STARTTLS, then does not know how; takes everything in the clear."""
    return Remote(Script(garbled_handshake=True))


def drops_at_data() -> Remote:
    """Breaks the connection instead of taking the content."""
    return Remote(Script(data=HangUp))


def drops_after_final_dot(times: int) -> Remote:
    """Takes the message, and breaks the connection before saying so; after so many times it works.

    Each message is in `received`, though nobody was told.
    """
    left = times

    def end() -> Answer:
        nonlocal left
        left -= 1
        return HangUp() if left >= 0 else replies.OK

    return Remote(Script(end=end))


def one_message_a_session() -> Remote:
    """Closes the connection with 421 when a second message is begun in it."""
    begun: list[int] = []

    def greet() -> Reply:
        begun.clear()
        return replies.greeting("mx.example")

    def mail(_: object) -> Answer:
        begun.append(1)
        return replies.SENDER_OK if len(begun) == 1 else replies.TOO_MANY_MESSAGES

    return Remote(Script(greet=greet, mail=mail))
