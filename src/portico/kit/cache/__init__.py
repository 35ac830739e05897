"""A cache: in memory, or in Redis where several processes share one."""
