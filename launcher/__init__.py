"""What `folkering.py` does before, and beside, the machine and the system: its own environment, its command line, `doctor`, `check` and `test`.

Standard library only: all of it must work on a bare Python that has nothing installed yet. Nothing but `folkering.py` imports it.
"""
