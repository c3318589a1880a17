"""
The way to strangers' addresses: which may be dialled, how names are looked up, and the one client that dials.
"""
