"""Borrowed client dialects, one module each: words in, words out. A surface decides nothing."""
