"""Python imports this first in every process that the tests start: PYTHONPATH names its folder."""

import pickle_watch

pickle_watch.install()
