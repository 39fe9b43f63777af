"""Scripted scenarios on the machine, in virtual time: boot, wait, type, look, stop, fork.

`machine.scenario.scenario.Scenario` is the vocabulary; `machine.scenario.plugin` makes it a pytest fixture. docs/scripting.md has examples.
"""
