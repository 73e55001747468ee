"""`mailstead serve` whose disk calls wait for another process, and which packs bodies at once.

    watched_server.py CHANNEL CONFIGURATION

CHANNEL is the number of an inherited Unix socket; see interception.py.
"""

import sys
from datetime import timedelta

from interception import be_watched

from mailstead.cli.main import main
from mailstead.services import packing

if __name__ == "__main__":
    packing.ROUND, packing.RIPE, packing.LOOSE_ENOUGH = timedelta(seconds=0.05), timedelta(0), 1
    be_watched(int(sys.argv[1]))
    main(["--config", sys.argv[2], "serve"])
