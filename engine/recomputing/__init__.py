"""The arrival law written a second time: tables from the sealed inputs, arrivals from the tables.

Shares nothing with the expansion but the compiler, so that a fault of one is not a fault of both.
"""
