"""The tests of the example are tests."""

from examples.testing_client import *  # noqa: F403
