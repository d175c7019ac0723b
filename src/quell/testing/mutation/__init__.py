"""Mutants of the session machine, and whether the exploration catches them: does the proof notice when the machine is wrong?

`changes` makes mutants, `trial` tries them, `equivalent` says of some why nobody could tell them from the machine.
"""
