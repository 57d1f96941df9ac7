"""Orders of the Piccolo shop: checkout as a saga over cart, catalog and payments."""

import time

# Read before anything else is imported: imports are most of the start.
BEGUN = time.perf_counter()
