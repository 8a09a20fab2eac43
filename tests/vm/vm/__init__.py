"""What makes a virtual machine, its disks, and the hand that plugs and pulls them."""
