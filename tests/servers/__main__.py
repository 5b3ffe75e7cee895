"""What the servers do: ``python -m tests.servers`` prints the page, ``--write`` writes it."""

import sys

from tests.servers.matrix.page import PAGE, filled
from tests.servers.matrix.results import all_outcomes

if __name__ == "__main__":
    page = filled(PAGE.read_text("utf-8"), all_outcomes())
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page, "utf-8")
    else:
        print(page)
