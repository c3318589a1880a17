"""
What a call passes before it is a job: counted, admitted, recognised, its media gathered, an offer taken, the job kept.

From :mod:`~gateway.door.edge`, the outermost layer, to :mod:`~gateway.door.accept`, where every surface ends.
"""
