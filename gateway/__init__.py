"""
A service that decides, remembers, pays and serves; it asks :mod:`providers` how to speak.

What it is made of, each standing on those below it and never the other way, which an import contract holds:

============  =================================================================
``cli``       the command line
``app``       joins the parts to one program; ``configuration`` reads its file
``surfaces``  the same service in the words of others: Google's, OpenRouter's…
``api``       ``/v1``, in OpenAI's words and our own
``engine``    how a job moves; what buys is here
``door``      what a call passes before it is a job
``clips``     media brought in, kept, and removed in time
``events``    who is told what became of a video, and who tells us
``offers``    what can be bought, from whom, for how much; and which is taken
``store``     what outlives the process
``network``   the way to strangers' addresses
``money``     what is held, settled and reported
``jobs``      what a video is, whoever speaks of it
============  =================================================================
"""
