"""
Measure Reelgate beside a peer (LiteLLM's proxy) and a floor (nginx), in one run on one machine.

``python -m bench`` starts everything itself; ``README.md`` says what each figure means.
"""
