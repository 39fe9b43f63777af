"""Requests with the answers that a person would expect, computed by plain Python over the fixture's rows.

`development` was written first and tuned on. `held_out` was written at the same time, once, and is only ever counted. `refused` holds what cannot, or
must not, be answered. No case is named after an operator.
"""
