"""
What can be bought here and now, from whom and for how much; and which of it to take.

:mod:`~gateway.offers.asking` asks everybody, :mod:`~gateway.offers.routing` decides, :mod:`~gateway.offers.fallback`
holds a job to that; :mod:`~gateway.offers.shop` knows the accounts.
"""
