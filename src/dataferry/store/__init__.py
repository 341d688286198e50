"""The store: SQL tables, their migrations, the repositories over them, and the ledger.

``dataferry.store.local`` works without SQLAlchemy, so that ``dataferry copy`` starts quickly: hence nothing
is imported here.
"""
