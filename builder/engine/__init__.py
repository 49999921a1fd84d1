"""Run images on this machine, without a daemon: unpack, start, talk to the server, inputs in, outputs out.

Imports `sandbox`, `store`, `oci`, `report` and `errors`; prints nothing, reads no environment.
"""
