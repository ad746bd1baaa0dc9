"""The parts that the bills of several clouds share: exports in files, matching, types of services, finality."""
