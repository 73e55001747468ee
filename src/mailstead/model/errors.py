"""The exceptions that cross rooms; each says whose fault it is. All else is our own bug."""


class TemporaryFailure(Exception):
    """The world is in the way (disk full, database busy): 4xx, or try again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refusal(Exception):
    """What was asked for cannot be done, for a reason that the asker can mend.

    `reason` is a sentence for people. `code` is the response code of RFC 5530 that says the same
    to programs (NONEXISTENT, ALREADYEXISTS, OVERQUOTA, CANNOT, LIMIT, NOPERM), or empty.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
