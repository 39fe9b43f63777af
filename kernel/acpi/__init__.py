"""ACPI as an operating system finds it: the root pointer, the tables below it, and what this kernel needs of each."""
