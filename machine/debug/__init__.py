"""Debugging a guest: what can be asked (`target`), in GDB's words (`rsp`)."""
