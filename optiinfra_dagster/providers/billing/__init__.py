"""What the bills of several clouds have in common: exports in files, matching charges to resources."""
