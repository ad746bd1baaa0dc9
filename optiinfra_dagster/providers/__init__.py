"""The clouds, a folder each, and what they share. A cloud's folder knows its SDK and yields typed rows of `model`."""
