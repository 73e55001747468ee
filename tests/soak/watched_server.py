"""`mailstead serve` whose disk calls wait for another process, and which puts nothing off.

    watched_server.py CHANNEL CONFIGURATION

CHANNEL is the number of an inherited Unix socket; see interception.py. Bodies are packed at once,
and the folder of the other workers is read for each wake-up: so every round has those calls, too.
"""

import sys
from datetime import timedelta

from interception import be_watched

from mailstead.cli.main import main
from mailstead.net import bus
from mailstead.services import packing

if __name__ == "__main__":
    packing.ROUND, packing.RIPE, packing.LOOSE_ENOUGH = timedelta(seconds=0.05), timedelta(0), 1
    bus.LOOK_AGAIN = 0.0
    be_watched(int(sys.argv[1]))
    main(["--config", sys.argv[2], "serve"])
