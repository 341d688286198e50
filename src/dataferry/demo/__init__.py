"""``dataferry demo``: two planes, two S3 servers and a small scripted control plane, driven from outside.

``story`` is what happens, on the ``stage`` that has the ``servers``, ``control_plane`` and ``planes``;
``screen`` shows it, and ``witness`` checks that it is true.
"""
