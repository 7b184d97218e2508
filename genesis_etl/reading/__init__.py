"""The verified read: what must agree before an account's lists are believed.

One answer that holds all `total_count` items is one state of its collection. A longer list is read in
passes. A pass proves nothing alone: delete an item on an early page, insert one at the end, and every
total still fits while an item that was there all the time has slipped through between two pages. So
passes are repeated until two in a row are equal, the second begun after the first had ended. If both
saw the same map id → item, that map stood at the instant between them: whatever is read by both of two
successive, equal collects was there together (the double collect of Afek, Attiya, Dolev, Gafni, Merritt
and Shavit, "Atomic snapshots of shared memory", J. ACM 40, 1993).

What has been read is believed to be all only where the list ends there: if the last page is full, the page after
it is asked for as well, for a server may cap its `total_count`.

This wing knows no HTTP: it is given something with a `page` method.
"""

from genesis_etl.reading.account import NOTHING_READ, Reading, read_account
from genesis_etl.reading.collection import MAX_PASSES, Progress

__all__ = ["MAX_PASSES", "NOTHING_READ", "Progress", "Reading", "read_account"]
