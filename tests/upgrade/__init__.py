"""An installation of an earlier version, taken over by this one."""
