"""What an MTA and a filter agree on: actions, steps, macros, and the size of packets."""

import enum
from collections.abc import Mapping

import msgspec

VERSION = 6
OLDEST_VERSION = 2
CHUNK = 65535  # octets of a packet's data, if nothing else was agreed on


class Actions(enum.IntFlag):
    """What a filter may do to a message."""

    ADD_HEADERS = 0x1
    CHANGE_BODY = 0x2
    ADD_RECIPIENTS = 0x4
    DELETE_RECIPIENTS = 0x8
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_FROM = 0x40
    ADD_RECIPIENTS_WITH_PARAMETERS = 0x80
    CHOOSE_MACROS = 0x100


class Steps(enum.IntFlag):
    """What need not be sent, or not be answered, and how the filter wants the rest."""

    NO_CONNECT = 0x1
    NO_HELO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADER = 0x20
    NO_END_OF_HEADER = 0x40
    NO_REPLY_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REFUSED_RCPT = 0x800
    NO_REPLY_CONNECT = 0x1000
    NO_REPLY_HELO = 0x2000
    NO_REPLY_MAIL = 0x4000
    NO_REPLY_RCPT = 0x8000
    NO_REPLY_DATA = 0x10000
    NO_REPLY_UNKNOWN = 0x20000
    NO_REPLY_END_OF_HEADER = 0x40000
    NO_REPLY_BODY = 0x80000
    LEADING_SPACE = 0x100000
    DATA_256K = 0x10000000
    DATA_1M = 0x20000000


ALL_ACTIONS = Actions(0x1FF)
ALL_STEPS = Steps(0x1FFFFF)  # bigger packets only where somebody asks for them


class Stage(enum.Enum):
    """A command of the protocol: its letter, its flags, its number in a filter's wish of macros."""

    CONNECT = (b"C", Steps.NO_CONNECT, Steps.NO_REPLY_CONNECT, 0)
    HELO = (b"H", Steps.NO_HELO, Steps.NO_REPLY_HELO, 1)
    MAIL = (b"M", Steps.NO_MAIL, Steps.NO_REPLY_MAIL, 2)
    RCPT = (b"R", Steps.NO_RCPT, Steps.NO_REPLY_RCPT, 3)
    DATA = (b"T", Steps.NO_DATA, Steps.NO_REPLY_DATA, 4)
    END_OF_MESSAGE = (b"E", Steps(0), Steps(0), 5)
    END_OF_HEADER = (b"N", Steps.NO_END_OF_HEADER, Steps.NO_REPLY_END_OF_HEADER, 6)
    HEADER = (b"L", Steps.NO_HEADER, Steps.NO_REPLY_HEADER, -1)
    BODY = (b"B", Steps.NO_BODY, Steps.NO_REPLY_BODY, -1)
    UNKNOWN = (b"U", Steps.NO_UNKNOWN, Steps.NO_REPLY_UNKNOWN, -1)

    @property
    def letter(self) -> bytes:
        """The command."""
        return self.value[0]

    @property
    def unwanted(self) -> Steps:
        """The flag by which a filter does without."""
        return self.value[1]

    @property
    def silent(self) -> Steps:
        """The flag by which a filter does not answer."""
        return self.value[2]

    @property
    def number(self) -> int:
        """The place in lists of macros; -1 where there is none."""
        return self.value[3]


# Commands that came with a later version of the protocol.
_SINCE = {Stage.UNKNOWN: 3, Stage.DATA: 4}


class Macros(msgspec.Struct, frozen=True):
    """What the MTA knows at a stage, by the names that filters use: "i", "{auth_authen}"."""

    values: Mapping[str, str] = {}


NO_MACROS = Macros()


class Options(msgspec.Struct, frozen=True):
    """What was agreed on."""

    version: int
    actions: Actions
    steps: Steps
    macros: Mapping[int, tuple[str, ...]] = {}

    @property
    def chunk(self) -> int:
        """Octets that a packet holds."""
        if Steps.DATA_1M in self.steps:
            return 1024 * 1024 - 1
        return 256 * 1024 - 1 if Steps.DATA_256K in self.steps else CHUNK

    def sends(self, stage: Stage) -> bool:
        """Whether the filter wants to hear of this."""
        return self.version >= _SINCE.get(stage, 0) and not stage.unwanted & self.steps
