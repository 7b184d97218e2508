"""An account's images as rows of image × region.

    {"id": "2c6d", "name": "Ubuntu 22.04", "type": "base-os", "created_at": "2020-03-06T14:07:18.311Z",
     "regions": ["ARC-IS-HAF-1", "NORD-NO-KRS-1"]}
    image_id  name          type     region         created_at                   …
    2c6d      Ubuntu 22.04  base-os  ARC-IS-HAF-1   2020-03-06 14:07:18.311 UTC
    2c6d      Ubuntu 22.04  base-os  NORD-NO-KRS-1  2020-03-06 14:07:18.311 UTC

Pure: no file, no network, no clock.
"""

from genesis_etl.rows.merge import GIB
from genesis_etl.rows.schema import INSTANT, ROW, described
from genesis_etl.rows.table import Rows, to_frame, to_rows

__all__ = ["GIB", "INSTANT", "ROW", "Rows", "described", "to_frame", "to_rows"]
