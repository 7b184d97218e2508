"""The columns of a row of image × region."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

INSTANT: Final = pa.timestamp("us", tz="UTC")


def described(name: str, type: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """Return a field with its description, which lies in every file."""
    return pa.field(name, type, nullable=nullable, metadata={"description": description})


# What identifies a row; two rows are the same when all of these are, null being equal to null.
ROW: Final = pa.schema(
    [
        described("image_id", pa.string(), "id of the image, as the API gives it"),
        described("name", pa.string(), "display name; for a snapshot any text a person chose"),
        described("type", pa.string(), "base-os, preconfigured, cloud-image, snapshot, or a later one"),
        described("region", pa.string(), "region id; null for an image that lists none", nullable=True),
        described("created_at", INSTANT, "when the image was created"),
        described("updated_at", INSTANT, "when the API says it last changed", nullable=True),
        described("os_type", pa.string(), "operating system, such as linux", nullable=True),
        described("family", pa.string(), "family, such as ubuntu", nullable=True),
        described("slug", pa.string(), "short name, such as ubuntu-22.04", nullable=True),
        described("versions", pa.list_(pa.string()), "versions of a cloud image", nullable=True),
        described("size_gib", pa.float64(), "size in GiB (2^30 bytes), from /snapshots", nullable=True),
        described("status", pa.string(), "state of a snapshot, from /snapshots", nullable=True),
        described("source_instance_id", pa.string(), "instance the snapshot was taken from", nullable=True),
        described("source_snapshot_id", pa.string(), "snapshot that this one is a copy of", nullable=True),
        described("source_instance_name", pa.string(), "its name, from /instances; null if it is gone", nullable=True),
        described(
            "source_instance_exists", pa.bool_(), "whether it exists; null if that could not be read", nullable=True
        ),
        described("extra", pa.string(), "JSON object of every field not named here, keys sorted", nullable=True),
    ]
)
