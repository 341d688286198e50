"""The gateway: the bytes of pulls over HTTP, to who shows the token of their flow.

Source: Data Plane Signaling, "HTTP Transfer Profile".
"""
