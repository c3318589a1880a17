"""
What can be bought, and how to ask for it.

A library: it turns an order into a provider's words and an answer into an update.
It knows no database, no web server and no settings, and never imports the gateway.
"""
