"""What a data flow is: states, addresses, objects, errors and the ports of the rooms above.

Standard library only. Everything else may import this room; it imports nothing of ours.
"""
