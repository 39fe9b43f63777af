"""The CPU: stock Unicorn driven as a whole multiprocessor x86-64, with exceptions, interrupts and SYSCALL delivered natively."""
