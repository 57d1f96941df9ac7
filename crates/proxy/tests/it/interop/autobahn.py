"""Runs the Autobahn test suite (Python 2.7) out of the folder that is named first, with the patience of a busy machine.

A case that is over takes no longer for it; one that is not has three or ten times as long as it says.
"""
import site
import sys

# This very file has the name of one of its libraries.
del sys.path[0]
# Another one is found only in a folder that is a site of Python's.
site.addsitedir(sys.argv.pop(1))

from autobahn.websocket import protocol  # noqa: E402
from autobahntestsuite import fuzzing, wstest  # noqa: E402


def patient(original):
    def wait(self, delay, *more):
        return original(self, delay * (10 if delay >= 10 else 3), *more)

    return wait


for name in ("closeAfter", "killAfter"):
    setattr(fuzzing.FuzzingProtocol, name, patient(getattr(fuzzing.FuzzingProtocol, name)))

reset = protocol.WebSocketClientFactory.resetProtocolOptions


def patiently(self):
    reset(self)
    # Both are a second: for the answer to a closing frame, and for the end of the connection after it.
    self.closeHandshakeTimeout = self.serverConnectionDropTimeout = 10


protocol.WebSocketClientFactory.resetProtocolOptions = patiently

wstest.run()
