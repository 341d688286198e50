"""What a process of ours is made of: settings, and the composition root that wires the rooms.

``settings`` says what may be configured, ``configuration`` reads it from a file and the environment,
``composition`` builds the service on its ``database``, ``serve`` and ``server`` run it, ``copy`` makes one
transfer without it, ``check`` tries everything that is configured. The only room that reads the environment.
"""
