"""What all threads of an attempt share: its ``course``.

On it: the ``route``, whether the store moves the bytes or we; ``progress``, which counts; ``retry``, which
alone retries; ``tags``, kept where both ends keep them; and how what has no length is cut and held,
``spool``.
"""
