"""Tests of the cloud lab, with the real SDKs over real sockets."""
