"""
What a job costs and on whose budget: the ledger's sums, what a step means for them, and reports. All of it is pure.
"""
