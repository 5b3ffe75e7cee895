"""`make docs`: are the examples and the links of the documentation right?"""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "tests/unit/test_docs.py", "tests/examples"]))
