"""Object storage of the lab: S3 and Google Cloud Storage over the same objects."""
