"""
Who is told what became of a video, and how providers are heard: webhooks out, hooks in, streams, and waiting callers.
"""
