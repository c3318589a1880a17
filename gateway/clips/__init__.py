"""
Media: clips and inputs brought in, measured, kept on a shelf, and removed when their time is over.

:mod:`~gateway.clips.shelf` says what a shelf is; there are two, a folder and a bucket.
"""
