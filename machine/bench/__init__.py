"""What the machine costs, beside QEMU where that is found, against the budgets of DESIGN.md section 4."""
