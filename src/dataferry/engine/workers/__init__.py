"""The threads and processes that carry a plan out, as many as pay.

``feed`` hands work to each ``worker`` of the ``crew``, as many as the ``tuner`` finds to pay. A worker may
have a seat in one of the ``lanes``: processes (``lane``) that send small objects. ``gathering`` says which
processors the threads use.
"""
