"""Object storage of the lab: S3, Google Cloud Storage and Azure's blob storage over the same objects."""
