"""ACPI tables, one file a table; `placement` puts them into memory or describes to a firmware how to."""
