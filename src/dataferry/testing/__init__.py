"""Behaviour suites that ship with the product, for whoever writes a mechanism, a ledger or an executor.

Nothing in the product imports this room.
"""
