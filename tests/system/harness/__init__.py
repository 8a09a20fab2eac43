"""What the system tests are made of: disks, daemons, users, and waiting for things."""
