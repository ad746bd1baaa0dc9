"""Object storage of every cloud behind one protocol: list files between two keys, open one and read it to its end."""
