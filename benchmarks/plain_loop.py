"""What everybody writes first: requests in a loop, json_normalize, explode, to_parquet; one pass, unverified.

python benchmarks/plain_loop.py ENDPOINT OUTPUT
"""

import sys

import pandas as pd
import requests

endpoint, output = sys.argv[1:3]
items, page = [], 1
with requests.Session() as session:
    while True:
        answer = session.get(f"{endpoint}/images", params={"page": page, "per_page": 100}, timeout=30).json()
        items += answer["images"]
        if page * 100 >= answer["total_count"]:
            break
        page += 1
frame = pd.json_normalize(items).explode("regions")
frame["created_at"] = pd.to_datetime(frame["created_at"], format="ISO8601")
frame["updated_at"] = pd.to_datetime(frame["updated_at"], format="ISO8601")
frame.to_parquet(output)
