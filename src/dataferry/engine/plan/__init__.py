"""What is to be moved, written down before it is.

``planning`` lists the source and decides, with ``overwriting`` where the destination has the name already
and ``retargeting`` where it is another one than last time; ``estimate`` says what the plan takes.
``manifest`` writes, in the end, what has arrived.
"""
