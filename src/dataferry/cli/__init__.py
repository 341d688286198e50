"""The commands. Each imports what it needs when it runs, so that starting stays quick.

``main`` is the entry point and the one place that turns errors into exit codes, ``application`` names the
commands, ``client`` speaks to a running service, ``output`` prints, the others hold a group each.
Exit codes: 0 fine, 1 failed, 2 usage, 130 interrupted.
"""
