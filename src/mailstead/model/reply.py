"""An SMTP reply: code, enhanced status code, text (RFC 5321 section 4.2, RFC 3463)."""

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """What one side of SMTP answers. `text` may hold several lines, parted by a line feed."""

    code: int
    enhanced: str  # "5.1.1"; empty where RFC 2034 section 4 has none (220, 354, EHLO, AUTH 334)
    text: str

    @property
    def ok(self) -> bool:
        """2yz or 3yz: the command was taken."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4yz: the same may work later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5yz: the same will never work."""
        return self.code >= 500

    def __str__(self) -> str:
        first = f"{self.code} {self.enhanced} " if self.enhanced else f"{self.code} "
        return first + " ".join(self.text.split("\n"))
