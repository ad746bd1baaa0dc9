"""Vultr as the lab shows it: the HTTP API of every account of a world, or recorded answers."""
