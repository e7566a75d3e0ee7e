"""The stores elsewhere that the platform under test allows: none of them is there, experiments only name them."""

# What the file of MODELSTEAD_ARTIFACT_STORES says.
TOML = """\
[stores.lake]
root = "s3://bucket"

[stores.archive]
root = "gs://bucket"

[stores.shared-disk]
root = "file:///mnt/experiments"
"""
