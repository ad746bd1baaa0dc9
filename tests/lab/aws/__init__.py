"""Tests of the lab's AWS, with the real boto3."""
