"""The same with dlt: its `rest_api` source into Parquet files, exploded to a row per image and region; one pass.

python benchmarks/dlt_pipeline.py ENDPOINT FOLDER
"""

import sys
from pathlib import Path

import dlt
from dlt.sources.rest_api import rest_api_resources

endpoint, folder = sys.argv[1:3]
source = rest_api_resources(
    {
        "client": {
            "base_url": endpoint,
            "paginator": {"type": "page_number", "base_page": 1, "total_path": None},
        },
        "resources": [
            {
                "name": "images",
                "endpoint": {"path": "images", "params": {"per_page": 100}, "data_selector": "images"},
            }
        ],
    }
)
rows = source[0].add_yield_map(lambda item: ({**item, "regions": None, "region": region} for region in item["regions"]))
pipeline = dlt.pipeline(
    "benchmark",
    pipelines_dir=f"{folder}/state",
    destination=dlt.destinations.filesystem(Path(folder, "lake").absolute().as_uri()),
    dataset_name="images",
)
pipeline.run(rows, loader_file_format="parquet")
