"""What engines can do, and where and how large a replica is placed on one."""
